"""One source from its file to finished clips, in a worker; the results of each stage are kept in the store."""

from __future__ import annotations

import functools
import os
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from avssl.avsync.clips import Span, cut_clip, with_sound
from avssl.avsync.decide import Verdict, decide
from avssl.avsync.estimates import Estimates, estimate
from avssl.avsync.excerpts import hashes_of
from avssl.avsync.normalise import packed
from avssl.avsync.options import Options
from avssl.avsync.reasons import Rejection
from avssl.avsync.recording import VERSIONS, Candidate, Job, Recording, recorded
from avssl.avsync.score import framing_shown
from avssl.avsync.store import Record, Store, key_of
from avssl.catalog.measuring import frozen, reader_version
from avssl.catalog.table import row_from_info
from avssl.media import VideoInfo, open_video, probe
from avssl.media.motion import profile
from avssl.runtime.files import digest_of

HASHES = 1  # version of avsync.excerpts, see `VERSIONS`
CROPS = 2  # version of avsync.{cropping,framing}, see `VERSIONS`


def process(job: Job) -> Record:
    """Take a source through all stages that concern it alone.

    Returns:
        ``facts`` about the source; ``reason`` and ``why`` if it is rejected; ``fps``, ``seconds`` and ``likeness`` of
        the normalised recording; ``clips``, one record each: ``start`` and
        ``stop`` (frames of the normalised recording), ``offset``, ``confidence``, ``shift`` (seconds), ``people`` (its
        faces), and ``reason`` and ``why`` if it is dropped or ``key`` and ``row`` (of the manifest) if it is kept, with
        ``crops``; ``made``, the number of new records per stage.

    Raises:
        SourceError: if the source's bytes can't be had now.
    """
    store = Store(job.store, job.retry)
    outcome = _stages(job, store)
    return {"facts": {}, "clips": [], **outcome, "made": store.made}


def _stages(job: Job, store: Store) -> Record:
    options = job.options
    outcome, recording = recorded(job, store)
    if recording is None:
        return outcome
    candidates = recording.clips(options, framing_shown(job.scorer) is not None)
    estimates = estimate(job.scorer, recording, candidates, options)
    verdicts = decide(estimates.scores, recording.fps, options.sync, estimates.traces)
    left = next((Verdict(verdict.shift) for verdict in verdicts.values() if verdict.decision == "moved"), Verdict())
    clips = []
    for span, candidate in candidates.items():
        clip = {**span._asdict(), **_seen(recording, span, candidate, estimates)}
        rejection = candidate.rejection or estimates.rejections.get(span)
        unscored = None if span in verdicts else candidate.silence or candidate.fault
        if options.sync.mode == "drop":
            rejection = rejection or unscored
        if rejection is None:
            verdict = verdicts.get(span) or left._replace(decision=unscored.reason if unscored else "scored")
            clip |= _kept(recording, span, verdict, clip["people"], options)
        clips.append(clip if rejection is None else clip | rejection._asdict())
    fps = [recording.fps.numerator, recording.fps.denominator]
    like = {"likeness": recording.likeness, "seconds": recording.info.duration, "fps": fps}
    like |= {"tracks": recording.tracked, "heard": estimates.key}
    if not options.accept.excerpts:
        like |= {"hashes": _hashes(recording), "glimpses": recording.glimpses}
    return {**outcome, **like, "clips": clips, **_verdict(clips, recording.info, options)}


def _seen(recording: Recording, span: Span, candidate: Candidate, estimates: Estimates) -> Record:
    """Return what is known of a clip and of the people in it, before anything is decided."""
    late = recording.observed.late[span.start : span.stop]
    clip: Record = {"offset": None, "confidence": None, "shift": 0.0, "speech": candidate.speech}
    clip |= {"shown_late": float(late.mean()), "shown_late_most": float(np.abs(late).max()), "people": []}
    if span in estimates.scores:
        clip |= estimates.scores[span]._asdict()
    if candidate.seen is None:
        return clip
    sides = [face.side for face in candidate.seen]
    clip |= {"faces": len(sides), "face_side": max(sides, default=None)}
    voice, fault = estimates.voices.get(span), candidate.fault or estimates.faults.get(span)
    if voice is not None:
        clip |= {"voice": voice.where, "speaker_track": voice.speaker, "speaker_margin": voice.margin}
    clip["people_fault"] = fault and fault.reason
    heard = {face.track: face.score for face in estimates.heard.get(span, ())}
    for face in candidate.seen:
        about = face._asdict() | {"fault": face.fault and face.fault.reason, "offset": None, "confidence": None}
        about["place"] = estimates.places.get((span, face.track))
        about["speaks"] = None if voice is None or voice.where == "undecided" else face.track == voice.speaker
        clip["people"].append(about | (heard[face.track]._asdict() if face.track in heard else {}))
    return clip


def _kept(recording: Recording, span: Span, verdict: Verdict, people: list[Record], options: Options) -> Record:
    """Return what is decided on a clip that is worth keeping, with its file and those of the people in it."""
    clip: Record = {"decision": verdict.decision, "probability": verdict.probability, "shift": verdict.shift}
    if verdict.rejection is not None:
        return clip | verdict.rejection._asdict()
    found = with_sound(recording.observed, span, verdict.shift, recording.fps, options.cut)
    if isinstance(found, Rejection):
        return clip | found._asdict()
    key = key_of(recording.key, VERSIONS["clips"], found, verdict.shift, recording.grade, options.cut.codec)
    make = functools.partial(_cut, recording, found, verdict.shift, key, options.cut.codec)
    clip |= {**found._asdict(), "key": key, "row": recording.store.record("clips", key, make, ".mp4")["row"]}
    if options.crops.part is not None:
        dropped = options.faces.mode == "drop"
        chosen = [face for face in people if not dropped or (face["fault"] is None and face["speaks"] is not False)]
        clip["crops"] = [_crop(recording, found, verdict.shift, face["track"], options) for face in chosen]
    return clip


def _hashes(recording: Recording) -> str:
    """Return the hashes of a recording's sound, uint32 in base 64."""

    def make() -> Record:
        info = recording.info
        assert info.audio is not None
        with open_video(info.path, "pyav", info) as reader:
            samples = reader.audio(0.0, info.duration, info.audio.rate).samples.numpy()
        return {"hashes": packed(hashes_of(samples, info.audio.rate).astype("<u4"))}

    return str(recording.store.record("hashes", key_of(recording.key, HASHES), make)["hashes"])


def _crop(recording: Recording, span: Span, shift: float, track: int, options: Options) -> Record:
    """Return the track, key and manifest row of a person's clip."""
    from avssl.avsync.framing import framing_of  # imports OpenCV

    framing = framing_of(options.crops)
    facts = (recording.tracked, span, shift, track, framing, asdict(options.normal), recording.grade, options.cut.codec)
    key = key_of(recording.key, CROPS, *facts)

    def make() -> Record:
        from avssl.avsync.cropping import write_crop  # imports OpenCV

        assert recording.tracks is not None
        with recording.store.growing("crops", key, ".mp4") as partial:
            face, codec = recording.tracks[track], options.cut.codec
            write_crop(recording.info, span, shift, recording.fps, face, framing, options.normal, codec, partial)
            return _row(recording, span, partial)

    return {"track": track, "key": key, "row": recording.store.record("crops", key, make, ".mp4")["row"]}


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


def _cut(recording: Recording, span: Span, shift: float, key: str, codec: str) -> Record:
    with recording.store.growing("clips", key, ".mp4") as partial:
        cut_clip(recording.info, span, shift, recording.fps, partial, codec)
        return _row(recording, span, partial)


def _row(recording: Recording, span: Span, path: Path) -> Record:
    """Return the row of a manifest of a clip that was just written."""
    info = probe(path)
    times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
    moved = torch.from_numpy(recording.observed.motion[span.start : span.stop])
    info = replace(info, motion=profile(times, moved, info.duration), sync_grade=recording.grade)
    row = row_from_info(info) | {"content": digest_of(path), "size_bytes": os.path.getsize(path)}
    return {"row": frozen(row | {"reader": reader_version(True)})}
