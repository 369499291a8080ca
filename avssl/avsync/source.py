"""One source from its file to finished clips, in a worker; the results of each stage are kept in the store."""

from __future__ import annotations

import functools
import os
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from avssl.avsync.clips import Span, cut_clip, with_sound
from avssl.avsync.decide import Verdict, decide
from avssl.avsync.options import Options
from avssl.avsync.reasons import Rejection
from avssl.avsync.recording import VERSIONS, Job, Recording, recorded
from avssl.avsync.score import Score, Scorer
from avssl.avsync.store import Record, Store, key_of
from avssl.avsync.tracks import present
from avssl.catalog.measuring import frozen, reader_version
from avssl.catalog.table import row_from_info
from avssl.media import VideoInfo, probe
from avssl.media.motion import profile
from avssl.runtime.files import digest_of


def process(job: Job) -> Record:
    """Take a source through all stages that concern it alone.

    Returns:
        ``facts`` about the source; ``reason`` and ``why`` if it is rejected; ``fps``, ``seconds`` and ``likeness`` of
        the normalised recording; ``clips``, one record each: ``start`` and
        ``stop`` (frames of the normalised recording), ``offset``, ``confidence``, ``shift`` (seconds), and ``reason``
        and ``why`` if it is dropped or ``key`` and ``row`` (of the manifest) if it is kept; ``made``, the number of new
        records per stage.

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
    unfit = recording.fit(options)
    scores = _scores(job.scorer, recording, [span for span in unfit if unfit[span] is None])
    verdicts = decide(scores, recording.fps, options.sync)
    clips = [_clip(recording, span, scores.get(span), why or verdicts[span], options) for span, why in unfit.items()]
    fps = [recording.fps.numerator, recording.fps.denominator]
    like = {"likeness": recording.likeness, "seconds": recording.info.duration, "fps": fps}
    like["tracks"] = recording.tracked
    return {**outcome, **like, "clips": clips, **_verdict(clips, recording.info, options)}


def _scores(scorer: Scorer, recording: Recording, spans: list[Span]) -> dict[Span, Score]:
    def estimate() -> Record:
        return {"scores": [scorer(recording.scored(span)) for span in spans]}

    key = key_of(recording.seen, VERSIONS["scores"], spans, scorer.name(), recording.shown)
    found = recording.store.record("scores", key, estimate)
    return {span: Score(*score) for span, score in zip(spans, found["scores"], strict=True)}


def _clip(
    recording: Recording, span: Span, score: Score | None, verdict: Rejection | Verdict, options: Options
) -> Record:
    """Return the record of a clip; see :func:`process`."""
    late = recording.observed.late[span.start : span.stop]
    clip: Record = {**span._asdict(), "offset": None, "confidence": None, "shift": 0.0}
    if recording.tracks is not None:
        faces = present(recording.tracks, *span, options.faces.share)
        clip |= {"faces": len(faces), "face_side": max((recording.tracks[n].side for n in faces), default=None)}
    clip |= {"shown_late": float(late.mean()), "shown_late_most": float(np.abs(late).max())}
    if score is None or isinstance(verdict, Rejection):
        assert isinstance(verdict, Rejection)
        return clip | verdict._asdict()
    clip |= {**score._asdict(), "shift": verdict.shift}
    clip |= {"decision": verdict.decision, "probability": verdict.probability}
    if verdict.rejection is not None:
        return clip | verdict.rejection._asdict()
    found = with_sound(recording.observed, span, verdict.shift, recording.fps, options.cut)
    if isinstance(found, Rejection):
        return clip | found._asdict()
    key = key_of(recording.key, VERSIONS["clips"], found, verdict.shift, recording.grade, options.cut.codec)
    make = functools.partial(_cut, recording, found, verdict.shift, key, options.cut.codec)
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


def _cut(recording: Recording, span: Span, shift: float, key: str, codec: str) -> Record:
    with recording.store.growing("clips", key, ".mp4") as partial:
        cut_clip(recording.info, span, shift, recording.fps, partial, codec)
        info = probe(partial)
        times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
        moved = torch.from_numpy(recording.observed.motion[span.start : span.stop])
        info = replace(info, motion=profile(times, moved, info.duration), sync_grade=recording.grade)
        row = row_from_info(info) | {"content": digest_of(partial), "size_bytes": os.path.getsize(partial)}
    return {"row": frozen(row | {"reader": reader_version(True)})}
