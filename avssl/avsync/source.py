"""One source from its file to finished clips, in a worker; the results of each stage are kept in the store."""

from __future__ import annotations

import base64
import functools
import os
from collections import Counter
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from avssl.avsync.clips import Span, check_clip, cut_clip, find_clips, with_sound
from avssl.avsync.normalise import normalise
from avssl.avsync.observe import Observed, detector_version, observe
from avssl.avsync.options import Options
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Score, Scorer, ScorerInput, decide
from avssl.avsync.store import Record, Store, key_of
from avssl.catalog.measuring import Span as Segment
from avssl.catalog.measuring import check_archive, frozen, reader_version
from avssl.catalog.table import info_from_row, row_from_info
from avssl.media import MediaError, VideoInfo, probe
from avssl.media.files import path_of
from avssl.media.motion import profile
from avssl.media.probing import probe_frames
from avssl.media.segments import cut
from avssl.media.source import Source as Stretch
from avssl.media.source import SourceError
from avssl.runtime.files import digest_of

# Raise a stage's version when a change of the modules beside it changes its results. That redoes the stage and those
# that use its results. The version of the reader and that of PyAV, which holds x264, are in the keys of "probe" and
# "normal", PySceneDetect's in that of "observed", and the scorer's name (hash of its weights) in that of "scores".
VERSIONS = {
    "normal": 2,  # avsync.normalise, catalog.encode, media.motion
    "observed": 1,  # avsync.observe
    "scores": 1,  # avsync.clips, avsync.score, sync.offset
    "clips": 1,  # avsync.clips, catalog.encode, media.motion
}
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


def process(job: Job) -> Record:
    """Take a source through all stages that concern it alone.

    Returns:
        ``facts`` about the source; ``reason`` and ``why`` if it is rejected; ``clips``, one record each: ``start`` and
        ``stop`` (frames of the normalised recording), ``offset``, ``confidence``, ``shift`` (seconds), and ``reason``
        and ``why`` if it is dropped or ``key`` and ``row`` (of the manifest) if it is kept; ``made``, the number of new
        records per stage.

    Raises:
        SourceError: if the source's bytes can't be had now.
    """
    store = Store(job.store, job.retry)
    outcome = _stages(job, store)
    return {"facts": {}, "clips": [], **outcome, "made": store.made}


@dataclass(frozen=True)
class _Recording:
    """A normalised source."""

    info: VideoInfo  # the normalised file's
    key: str  # its record's
    fps: Fraction
    observed: Observed
    grade: str  # the source's ``sync_grade``; a copy can be trusted no more than its source
    store: Store


def _stages(job: Job, store: Store) -> Record:
    options, reader = job.options, reader_version(False)
    probed = store.record("probe", key_of(job.content, reader), lambda: _probe(job.place, job.span))
    if "reason" in probed:
        return probed
    info, segment = _info(probed, job.place), job.span is not None
    facts = {name: probed[name] for name in FACTS}
    rejection = _unfit(info, options, segment)
    if rejection is not None:
        return {"facts": facts, **rejection._asdict()}

    key = key_of(job.content, reader, VERSIONS["normal"], asdict(options.normal), options.accept.broken)
    normal = store.record("normal", key, lambda: _normalise(info, store, key, options, segment), ".mp4")
    if "reason" in normal:
        return {"facts": facts, **normal}
    copy = _info(normal["row"], store.path("normal", key, ".mp4"))

    seen = key_of(key, VERSIONS["observed"], asdict(options.shots), detector_version(options.shots))
    store.record("observed", seen, lambda: _observe(copy, normal["motion"], store, seen, options), ".npz")
    observed = Observed.load(store.path("observed", seen, ".npz"))
    recording = _Recording(copy, key, Fraction(*normal["fps"]), observed, info.sync_grade, store)

    spans = find_clips(observed, recording.fps, options.cut)
    unfit = {span: check_clip(observed, span, recording.fps, options.cut) for span in spans}
    scores = _scores(job.scorer, recording, seen, [span for span in spans if unfit[span] is None])
    clips = [_clip(recording, span, unfit[span] or scores[span], options) for span in spans]
    return {"facts": facts, "clips": clips, **_verdict(clips, copy, options)}


def _scores(scorer: Scorer, recording: _Recording, seen: str, spans: list[Span]) -> dict[Span, Score]:
    def estimate() -> Record:
        return {"scores": [scorer(ScorerInput(recording.info, s, recording.fps, recording.observed)) for s in spans]}

    found = recording.store.record("scores", key_of(seen, VERSIONS["scores"], spans, scorer.name()), estimate)
    return {span: Score(*score) for span, score in zip(spans, found["scores"], strict=True)}


def _clip(recording: _Recording, span: Span, judged: Rejection | Score, options: Options) -> Record:
    """Return the record of a clip; see :func:`process`."""
    clip: Record = {**span._asdict(), "offset": None, "confidence": None, "shift": 0.0}
    if isinstance(judged, Rejection):
        return clip | judged._asdict()
    verdict = decide(judged, options.sync)
    clip |= {**judged._asdict(), "shift": verdict.shift}
    if verdict.rejection is not None:
        return clip | verdict.rejection._asdict()
    found = with_sound(recording.observed, span, verdict.shift, recording.fps, options.cut)
    if isinstance(found, Rejection):
        return clip | found._asdict()
    key = key_of(recording.key, VERSIONS["clips"], found, verdict.shift, recording.grade)
    make = functools.partial(_cut, recording, found, verdict.shift, key)
    return clip | {**found._asdict(), "key": key, "row": recording.store.record("clips", key, make, ".mp4")["row"]}


def _verdict(clips: list[Record], copy: VideoInfo, options: Options) -> Record:
    """Return the rejection of a source of which no clip is left, else nothing."""
    if any("key" in clip for clip in clips):
        return {}
    if not clips:
        shortest = options.cut.min_seconds or options.cut.seconds
        why = f"no shot with sound in its {copy.duration:.2f} s lasts {shortest:g} s from a keyframe on"
        return Rejection("too_short", why)._asdict()
    reason, count = Counter(clip["reason"] for clip in clips).most_common(1)[0]
    example = next(clip["why"] for clip in clips if clip["reason"] == reason)
    return Rejection(reason, f"{count} of {len(clips)} clips: {example}")._asdict()


def _unfit(info: VideoInfo, options: Options, segment: bool) -> Rejection | None:
    """Return the rejection that follows from the packets alone, else None."""
    audio = info.audio
    if audio is None:
        return Rejection("no_audio", "there is no audio stream, or nothing of it decodes")
    if info.sync_grade != "exact" and not options.accept.unsignalled:
        return Rejection("unsignalled_offset", f"{audio.codec} in {info.container} without a signalled delay")
    if audio.silent:
        return Rejection("silent", "no sample is louder than -60 dB of full scale")
    shortest = options.cut.min_seconds or options.cut.seconds
    both = min(info.duration, audio.start + audio.duration) - max(0.0, audio.start)
    if both < shortest - 0.5 / options.normal.fps:
        return Rejection("too_short", f"sound and picture together last {both:.2f} s, a clip {shortest:g} s")
    apart = (both if segment else audio.duration) - info.duration
    if abs(apart) > options.accept.length_tolerance:
        longer = "longer" if apart > 0 else "shorter"
        return Rejection("length_mismatch", f"the sound is {abs(apart):.2f} s {longer} than the picture")
    return None


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


def _normalise(info: VideoInfo, store: Store, key: str, options: Options, segment: bool) -> Record:
    with store.growing("normal", key, ".mp4") as partial:
        record = normalise(info, partial, options.normal, not options.accept.broken, segment)
        if "reason" in record:
            partial.unlink(missing_ok=True)
            return record
        return {**record, "row": row_from_info(probe(partial))}


def _observe(copy: VideoInfo, motion: str, store: Store, key: str, options: Options) -> Record:
    with store.growing("observed", key, ".npz") as partial:
        observed = observe(copy, np.frombuffer(base64.b64decode(motion), "<f4"), options.shots)
        observed.save(partial)
    return {"frames": len(observed.motion), "shots": len(observed.cuts)}


def _cut(recording: _Recording, span: Span, shift: float, key: str) -> Record:
    with recording.store.growing("clips", key, ".mp4") as partial:
        cut_clip(recording.info, span, shift, recording.fps, partial)
        info = probe(partial)
        times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
        moved = torch.from_numpy(recording.observed.motion[span.start : span.stop])
        info = replace(info, motion=profile(times, moved, info.duration), sync_grade=recording.grade)
        row = row_from_info(info) | {"content": digest_of(partial), "size_bytes": os.path.getsize(partial)}
    return {"row": frozen(row | {"reader": reader_version(True)})}
