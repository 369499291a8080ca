"""Decisions on the clips of a source by their estimated offsets: keep, move the sound, or drop."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avssl.avsync.clips import Span
from avssl.avsync.options import Sync
from avssl.avsync.reasons import Rejection
from avssl.avsync.score import Score, Scorer
from avssl.avsync.together import NOTHING, Trace, together
from avssl.sync.calibration import Calibration

ONSET_CONFIDENCE = 6.0  # reached by fewer than 1 % of mismatched pairs of 2.4 s
CLOSE = 1e-6  # seconds, of rounding
SURE_SHARE = 0.5  # of the clips of a source, that are sure or agree, to move its sound


class Verdict(NamedTuple):
    """Decision on a clip."""

    shift: float = 0.0  # seconds by which its sound is moved earlier; 0 leaves it
    rejection: Rejection | None = None  # why it is dropped
    decision: str = "scored"  # scored; in_sync, moved, doubtful or disagree, where sound is moved; kept or dropped
    probability: float | None = None  # that the estimate is within 40 ms of the truth; None without a calibration


@functools.cache
def load_calibration(path: Path) -> Calibration:
    """Load a calibration, once per process."""
    return Calibration.load(path)


def check_calibration(options: Sync, scorer: Scorer) -> None:
    """Raise a ValueError if sound is to be moved by estimates whose confidence means nothing known."""
    if options.calibration is None:
        return
    found = load_calibration(options.calibration)
    if found.estimator != scorer.name():
        remedy = "calibrate with the sync.run and sync.max_offset that are to be used"
        raise ValueError(
            f"{options.calibration} was measured for another estimator or another largest offset: {remedy}"
        )


def decide(
    scores: Mapping[Span, Score], fps: Fraction, options: Sync, traces: Mapping[Span, Trace] | None = None
) -> dict[Span, Verdict]:
    """Keep, move or drop the clips of a source by their estimates, see :class:`Sync`.

    Args:
        scores: of its clips.
        fps: frames per second of the recording.
        options: how.
        traces: the curves of the estimates; with them, clips none of which is sure may be sure together.
    """
    if options.mode == "realign":
        return _realigned(scores, fps, options, traces or {})
    return {span: _alone(span, score, fps, options) for span, score in scores.items()}


def _alone(span: Span, score: Score, fps: Fraction, options: Sync) -> Verdict:
    chance = _probability(span, score, fps, options)
    if options.mode == "score":
        return Verdict(probability=chance)
    offset, confidence, _ = score
    needed = ONSET_CONFIDENCE if options.min_confidence is None else options.min_confidence
    sure, how = confidence >= needed, f"confidence {confidence:.2f} of an offset of {offset:+.3f} s is below {needed:g}"
    if chance is not None:
        sure, how = chance >= options.certainty, f"an offset of {offset:+.3f} s is right with probability {chance:.2f}"
    if not sure:
        return Verdict(0.0, Rejection("low_confidence", how), "dropped", chance)
    if abs(offset) <= options.tolerance:
        return Verdict(0.0, None, "kept", chance)
    why = f"its sound is {abs(offset):.3f} s {'late' if offset > 0 else 'early'}"
    return Verdict(0.0, Rejection("off_sync", why), "dropped", chance)


def _realigned(
    scores: Mapping[Span, Score], fps: Fraction, options: Sync, traces: Mapping[Span, Trace]
) -> dict[Span, Verdict]:
    """Move the sound of a source where that is beyond doubt, by one offset for all its clips; else leave it.

    It is if half of the clips are sure each and agree; or if all are sure together, half of them find the same each,
    and none that is sure finds something else.
    """
    chances = {span: _probability(span, score, fps, options) or 0.0 for span, score in scores.items()}
    sure = [score.offset for span, score in scores.items() if _sure(span, score, chances[span], fps, options)]
    offset = float(np.median(sure)) if sure else 0.0
    agree = max((abs(own - offset) for own in sure), default=0.0) <= options.tolerance + CLOSE
    enough = bool(sure) and len(sure) >= SURE_SHARE * len(scores)
    if not enough and (common := _common(scores, fps, options, traces)) is not None:
        offset, probability = common
        chances = dict.fromkeys(chances, probability)
        far = [abs(own - offset) > options.tolerance + CLOSE for own in sure]
        near = [abs(score.offset - offset) <= options.tolerance + CLOSE for score in scores.values()]
        enough, agree = True, not any(far) and sum(near) >= SURE_SHARE * len(near)
    if not enough:
        shift, decision = 0.0, "doubtful"
    elif not agree:
        shift, decision = 0.0, "disagree"
    elif abs(offset) <= options.tolerance + CLOSE:
        shift, decision = 0.0, "in_sync"
    else:
        shift, decision = offset, "moved"
    return {span: Verdict(shift, None, decision, chances[span]) for span in scores}


def _common(
    scores: Mapping[Span, Score], fps: Fraction, options: Sync, traces: Mapping[Span, Trace]
) -> tuple[float, float] | None:
    """Return the offset that clips have together, and its probability, if that is enough to act on; else None."""
    assert options.calibration is not None
    found = load_calibration(options.calibration).together
    if found is None:
        return None
    spans = [span for span in scores if traces.get(span, NOTHING).offsets and not _shorter(span, found, fps)]
    if len(spans) < found.clips:
        return None
    score = together([traces[span] for span in spans])
    chance = found.probability(score.confidence)
    shortest = min(spans, key=lambda span: span.stop - span.start)
    return (score.offset, chance) if _sure(shortest, score, chance, fps, options) else None


def _sure(span: Span, score: Score, chance: float, fps: Fraction, options: Sync) -> bool:
    half = (span.stop - span.start) / 2 / float(fps)  # of the pictures must have sound at this offset
    inside = not score.edge and abs(score.offset) <= min(half, options.max_offset - options.tolerance)
    return inside and chance >= options.certainty


def _probability(span: Span, score: Score, fps: Fraction, options: Sync) -> float | None:
    if options.calibration is None:
        return None
    found = load_calibration(options.calibration)
    return 0.0 if _shorter(span, found, fps) else found.probability(score.confidence)


def _shorter(span: Span, measured: Calibration, fps: Fraction) -> bool:
    """Return whether a clip carries less evidence than those that a calibration was measured on."""
    return span.stop - span.start < (measured.seconds - 1e-3) * float(fps) - 1
