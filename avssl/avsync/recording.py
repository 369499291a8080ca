"""A source, normalised and observed; the results of each stage are kept in the store."""

from __future__ import annotations

import base64
import functools
import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avssl.avsync.clips import Span, check_clip, find_clips
from avssl.avsync.likeness import likeness_of
from avssl.avsync.normalise import normalise, packed, rate_of
from avssl.avsync.observe import Observed, detector_version, observe
from avssl.avsync.options import Options
from avssl.avsync.people import Seen, seen_in, unfit
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Scorer, ScorerInput
from avssl.avsync.store import Record, Store, key_of
from avssl.avsync.tracks import Track, load_tracks, save_tracks
from avssl.catalog.measuring import Span as Segment
from avssl.catalog.measuring import check_archive, reader_version
from avssl.catalog.table import info_from_row, row_from_info
from avssl.media import MediaError, VideoInfo, probe
from avssl.media.files import path_of
from avssl.media.probing import probe_frames
from avssl.media.regions import Shown, noted_region
from avssl.media.segments import cut
from avssl.media.source import Source as Stretch
from avssl.media.source import SourceError
from avssl.media.trust import largest_delay

# Raise a stage's version when a change of the modules beside it changes its results. That redoes the stage and those
# that use its results. The version of the reader and that of PyAV, which holds x264, are in the keys of "probe" and
# "normal", PySceneDetect's in that of "observed", and the scorer's name (hash of its weights, and for a run's network
# the version of sync.offset) in that of "scores".
VERSIONS = {
    "normal": 4,  # avsync.normalise, catalog.encode, media.motion
    "observed": 2,  # avsync.observe
    "scores": 3,  # avsync.{clips,cropping,framing,score,together}
    "clips": 3,  # avsync.clips, catalog.encode, media.motion
}
TRACKS = 2  # the same of avsync.{faces,looks,tracks}, if faces are looked for
SPEECH = 1  # of avsync.speech, if it is
FACTS = ("duration", "fps", "vfr", "height", "width", "codec", "container", "audio_rate", "audio_codec", "sync_grade")


@dataclass(frozen=True)
class Job:
    """A source to work on. It is only read; all workers reach the folder ``store``."""

    place: Path | Stretch
    content: str  # what stands for it, see `avssl.avsync.sources.identity_of`
    store: Path
    options: Options
    scorer: Scorer
    retry: bool = False  # process again what was rejected before
    span: Segment = None  # seconds of a segment


@dataclass(frozen=True)
class Recording:
    """A normalised source."""

    info: VideoInfo  # the normalised file's
    key: str  # its record's
    fps: Fraction
    observed: Observed
    seen: str  # key of that
    grade: str  # the source's ``sync_grade``; a copy can be trusted no more than its source
    store: Store
    likeness: str  # see `avssl.avsync.likeness`
    glimpses: str  # of its first half seconds, see `avssl.avsync.normalise`
    tracks: list[Track] | None  # faces; None if they weren't looked for
    tracked: str  # key of those
    shown: Shown  # the part of its source's pictures that the recording shows
    speech: np.ndarray | None  # probability of speech in each 32 ms; None if it wasn't looked for

    def scored(self, span: Span, late: float = 0.0, track: int | None = None) -> ScorerInput:
        """Return what a scorer is given of a clip, or of a face in it, whose sound is to be ``late`` seconds later."""
        face = None if track is None or self.tracks is None else self.tracks[track]
        return ScorerInput(self.info, span, self.fps, self.observed, self.shown, late, face)

    def clips(self, options: Options, tracked: bool) -> dict[Span, Candidate]:
        """Return its clips, with what is known before their offsets are estimated.

        Args:
            options: what is asked of them.
            tracked: whether it will be known which face speaks.
        """
        found, cut = dict[Span, Candidate](), options.cut
        for span in find_clips(self.observed, self.fps, cut):
            rejection = check_clip(self.observed, span, self.fps, cut)
            share, silence = self._speech(span, options)
            if options.speech.mode == "drop":
                rejection = rejection or silence
            seen = None if self.tracks is None else seen_in(self.tracks, span, options.faces)
            fault = None if seen is None else unfit(seen, options.faces, tracked)
            if options.faces.mode == "drop":
                rejection = rejection or fault
            found[span] = Candidate(rejection, seen, fault, share, silence)
        return found

    def _speech(self, span: Span, options: Options) -> tuple[float | None, Rejection | None]:
        if self.speech is None:
            return None, None
        from avssl.avsync.speech import share_of_speech

        asked = options.speech
        start, stop = (float(edge / self.fps) for edge in span)
        share = share_of_speech(self.speech, start, stop, asked.threshold)
        why = f"{share:.0%} of it is speech, less than {asked.share:.0%}"
        return share, Rejection("no_speech", why) if share < asked.share else None


class Candidate(NamedTuple):
    """A clip before its offset is estimated."""

    rejection: Rejection | None  # why it is not worth keeping, whatever its offset
    seen: list[Seen] | None  # its faces; None if they weren't looked for
    fault: Rejection | None  # why these don't fit, whether or not that drops it
    speech: float | None  # share that is speech; None if it wasn't looked for
    silence: Rejection | None  # why its offset isn't estimated


def recorded(job: Job, store: Store) -> tuple[Record, Recording | None]:
    """Take a source through the stages up to "observed".

    Returns:
        ``facts`` about it, with ``reason`` and ``why`` if it is rejected; and the recording, if it is not.
    """
    options, reader = job.options, reader_version(False)
    probed = store.record("probe", key_of(job.content, reader), lambda: _probe(job.place, job.span))
    if "reason" in probed:
        return {"facts": {}, **probed}, None
    info, segment = _info(probed, job.place), job.span is not None
    facts = {name: probed[name] for name in FACTS} | _delays(info, options)
    facts["bitrate"] = None if segment else _size(job.place) / max(probed["duration"], 1e-3) * 8e-3
    rejection = _coarse(info, facts["bitrate"], options) or _unfit(info, options, segment)
    if rejection is not None:
        return {"facts": facts, **rejection._asdict()}, None

    known = facts["delay"]
    key = key_of(job.content, reader, VERSIONS["normal"], asdict(options.normal), options.accept.broken, known)
    make = functools.partial(_normalise, info, store, key, options, segment, known)
    normal = store.record("normal", key, make, ".mp4")
    if "reason" in normal:
        return {"facts": facts, **normal}, None
    copy = _info(normal["row"], store.path("normal", key, ".mp4"))

    seen = key_of(key, VERSIONS["observed"], asdict(options.shots), detector_version(options.shots))
    store.record("observed", seen, lambda: _observe(copy, normal, store, seen, options), ".npz")
    observed = Observed.load(store.path("observed", seen, ".npz"))
    late = observed.late
    facts |= {"shown_late": float(late.mean()), "shown_late_most": float(np.abs(late).max())}
    like = likeness_of(normal["glimpses"], observed)
    tracked, tracks = _faces(copy, observed, seen, store, options)
    grade, shown, fps = info.sync_grade, noted_region(path_of(job.place).parent), Fraction(*normal["fps"])
    speech = _speech(copy, key, store) if options.speech.mode != "off" else None
    people = (tracks, tracked, shown, speech)
    made = Recording(copy, key, fps, observed, seen, grade, store, like, normal["glimpses"], *people)
    return {"facts": facts}, made


def _faces(
    copy: VideoInfo, observed: Observed, seen: str, store: Store, options: Options
) -> tuple[str, list[Track] | None]:
    """Return the tracks of faces, if they are looked for, and the key they are kept under."""
    faces, model = options.faces, options.faces.model
    if model is None:
        return "", None
    gap, shortest = (round(seconds * copy.fps) for seconds in (faces.gap, faces.seconds))
    key = key_of(seen, TRACKS, model_version(model), gap, shortest)

    def find() -> Record:
        from avssl.avsync.faces import find_tracks  # imports OpenCV, which nothing else here needs

        tracks = find_tracks(copy, model, observed.cuts.tolist(), gap, shortest)
        with store.growing("tracks", key, ".npz") as partial:
            save_tracks(tracks, partial)
        return {"tracks": len(tracks)}

    store.record("tracks", key, find, ".npz")
    return key, load_tracks(store.path("tracks", key, ".npz"))


def _speech(copy: VideoInfo, normal: str, store: Store) -> np.ndarray:
    """Return the probability of speech in each 32 ms."""
    from avssl.avsync.speech import speech_of, speech_version

    key = key_of(normal, SPEECH, speech_version())
    record = store.record("speech", key, lambda: {"speech": packed(speech_of(copy).astype("<f4"))})
    return np.frombuffer(base64.b64decode(record["speech"]), "<f4")


@functools.cache
def model_version(model: Path) -> str:
    """Return the hash of a detector's file and the version of OpenCV, on which its detections depend."""
    from avssl.avsync.faces import version

    return version(model)


def _unfit(info: VideoInfo, options: Options, segment: bool) -> Rejection | None:
    """Return the rejection that follows from the packets alone, else None."""
    audio = info.audio
    if audio is None:
        return Rejection("no_audio", "there is no audio stream, or nothing of it decodes")
    most, accept = largest_delay(audio.codec, audio.rate), options.accept
    if info.sync_grade != "exact" and not (accept.unsignalled or most <= accept.delay_tolerance):
        may = f"which may be up to {1000 * most:.0f} ms" if most < math.inf else "for which no bound is known"
        remedy = "accept it with --accept.unsignalled=true"
        if most < math.inf:
            remedy += f" or --accept.delay_tolerance={math.ceil(1000 * most) / 1000:g}"
        why = f"{audio.codec} at {audio.rate} Hz in {info.container} without a signalled delay, {may}; {remedy}"
        return Rejection("unsignalled_offset", why)
    if audio.silent:
        return Rejection("silent", "no sample is louder than -60 dB of full scale")
    shortest = options.cut.min_seconds or options.cut.seconds
    both = min(info.duration, audio.start + audio.duration) - max(0.0, audio.start)
    if both < shortest - 0.5 / float(rate_of(info, options.normal)):
        return Rejection("too_short", f"sound and picture together last {both:.2f} s, a clip {shortest:g} s")
    apart = (both if segment else audio.duration) - info.duration
    if abs(apart) > options.accept.length_tolerance:
        longer = "longer" if apart > 0 else "shorter"
        return Rejection("length_mismatch", f"the sound is {abs(apart):.2f} s {longer} than the picture")
    return None


def _size(place: Path | Stretch) -> int:
    if isinstance(place, Path):
        return place.stat().st_size
    return place.num_bytes or place.size_bytes or 0


def _coarse(info: VideoInfo, bitrate: float | None, options: Options) -> Rejection | None:
    accept = options.accept
    if min(info.size) < accept.smallest:
        why = f"{info.size[1]} x {info.size[0]} pixels, less than {accept.smallest} on the shorter side"
        return Rejection("too_small", why)
    if bitrate is not None and bitrate < accept.bitrate:
        return Rejection("low_bitrate", f"{bitrate:.0f} thousand bits per second, less than {accept.bitrate:g}")
    return None


def _delays(info: VideoInfo, options: Options) -> Record:
    """Return the most seconds by which the sound may be late unsaid, and those known, by which it is moved earlier."""
    if info.audio is None or info.sync_grade == "exact":
        return {"delay_bound": None if info.audio is None else 0.0, "delay": 0.0}
    most = largest_delay(info.audio.codec, info.audio.rate)
    return {"delay_bound": most if most < math.inf else None, "delay": options.accept.delay}


def _probe(place: Path | Stretch, span: Segment) -> Record:
    try:
        check_archive(place)
        info, times = probe_frames(place)
        return row_from_info(info if span is None else cut(info, times, None, *span))
    except SourceError:
        raise
    except MediaError as error:
        return Rejection.of(error)._asdict()


def _info(row: Record, place: Path | Stretch) -> VideoInfo:
    path = path_of(place)
    blank = {"path": path.name, "label": None, "group": None, "view": None}
    info = info_from_row({**row, **blank}, path.parent, {})
    return replace(info, source=place) if isinstance(place, Stretch) else info


def _normalise(info: VideoInfo, store: Store, key: str, options: Options, segment: bool, late: float) -> Record:
    with store.growing("normal", key, ".mp4") as partial:
        record = normalise(info, partial, options.normal, not options.accept.broken, segment, late)
        if "reason" in record:
            partial.unlink(missing_ok=True)
            return record
        return {**record, "row": row_from_info(probe(partial))}


def _observe(copy: VideoInfo, normal: Record, store: Store, key: str, options: Options) -> Record:
    names = ("motion", "liveliest", "late")
    series = {name: np.frombuffer(base64.b64decode(normal[name]), "<f4") for name in names}
    with store.growing("observed", key, ".npz") as partial:
        observed = observe(copy, series, options.shots)
        observed.save(partial)
    return {"frames": len(observed.motion), "shots": len(observed.cuts)}
