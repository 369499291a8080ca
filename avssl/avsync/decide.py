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
from avssl.sync.calibration import Calibration

ONSET_CONFIDENCE = 6.0  # reached by fewer than 1 % of mismatched pairs of 2.4 s
SURE_SHARE = 0.5  # of the clips of a source, to move its sound


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


def decide(scores: Mapping[Span, Score], fps: Fraction, options: Sync) -> dict[Span, Verdict]:
    """Keep, move or drop the clips of a source by their estimates, see :class:`Sync`."""
    if options.mode == "realign":
        return _realigned(scores, fps, options)
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


def _realigned(scores: Mapping[Span, Score], fps: Fraction, options: Sync) -> dict[Span, Verdict]:
    """Move the sound of a source where that is beyond doubt, by one offset for all its clips; else leave it."""
    chances = {span: _probability(span, score, fps, options) or 0.0 for span, score in scores.items()}
    sure = [score.offset for span, score in scores.items() if _sure(span, score, chances[span], fps, options)]
    offset = float(np.median(sure)) if sure else 0.0
    if not sure or len(sure) < SURE_SHARE * len(scores):
        shift, decision = 0.0, "doubtful"
    elif max(abs(own - offset) for own in sure) > options.tolerance:
        shift, decision = 0.0, "disagree"
    elif abs(offset) <= options.tolerance:
        shift, decision = 0.0, "in_sync"
    else:
        shift, decision = offset, "moved"
    return {span: Verdict(shift, None, decision, chances[span]) for span in scores}


def _sure(span: Span, score: Score, chance: float, fps: Fraction, options: Sync) -> bool:
    half = (span.stop - span.start) / 2 / float(fps)  # of the pictures must have sound at this offset
    inside = not score.edge and abs(score.offset) <= min(half, options.max_offset - options.tolerance)
    return inside and chance >= options.certainty


def _probability(span: Span, score: Score, fps: Fraction, options: Sync) -> float | None:
    if options.calibration is None:
        return None
    found = load_calibration(options.calibration)
    shorter = span.stop - span.start < (found.seconds - 1e-3) * float(fps) - 1  # less evidence than was measured
    return 0.0 if shorter else found.probability(score.confidence)
