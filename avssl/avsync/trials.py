"""Estimates on clips whose sound is late by a known amount, and what they say of the confidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avssl.avsync.score import Score
from avssl.avsync.together import SEVERAL, Trace, together
from avssl.sync.calibration import FOLDS, WITHIN, Calibration, fit


class Trial(NamedTuple):
    """An estimate on a clip whose sound was made late; by more than is searched, and no estimate is right."""

    late: float  # seconds
    score: Score
    trace: Trace

    @property
    def right(self) -> bool:
        """Whether the estimate is within 40 ms of the truth, and not at the edge of what was searched."""
        return abs(self.score.offset - self.late) <= WITHIN + 1e-6 and not self.score.edge


Clips = Sequence[Sequence[Trial]]  # the trials of each clip of a recording


def calibrated(tried: Sequence[tuple[str, Clips]], estimator: str, reach: float, seconds: float) -> Calibration:
    """Fit what a confidence means: of estimates of one clip; and, if there are curves, of a recording's clips together.

    Args:
        tried: of each recording, its group and the trials of its clips.
        estimator: name of the scorer.
        reach: largest offset searched, in seconds.
        seconds: length of the clips.

    Raises:
        ValueError: with fewer than ten groups.
    """
    rows = [(group, trial.score.confidence, trial.right) for group, clips in tried for one in clips for trial in one]
    groups, confidences, right = (np.array(column) for column in zip(*rows, strict=True))
    alone = fit(confidences, right.astype(bool), groups, estimator, reach, seconds)
    several = [
        (group, clips)
        for group, clips in tried
        if len(clips) >= SEVERAL and all(trial.trace.offsets for one in clips for trial in one)
    ]
    count = int(np.median([len(clips) for _, clips in several])) if several else 0
    joint = [
        (group, *found) for group, clips in several if len(clips) >= count for found in _of_all(clips[:count], reach)
    ]
    if len({group for group, *_ in joint}) < 2 * FOLDS:
        return alone
    groups, confidences, right = (np.array(column) for column in zip(*joint, strict=True))
    return replace(alone, together=fit(confidences, right.astype(bool), groups, estimator, reach, seconds, count))


def _of_all(clips: Clips, reach: float) -> Iterator[tuple[float, bool]]:
    """Yield the confidence of each estimate from a recording's clips together, and whether it is right.

    The k-th trials of all clips are joined, as if their sounds had been late by the same: each curve counts from the
    lateness of its own trial.
    """
    own = [[trial for trial in one if abs(trial.late) <= reach] for one in clips]
    other = [[trial for trial in one if abs(trial.late) > reach] for one in clips]
    for some in zip(*own, strict=False):
        score = together([trial.trace for trial in some], [trial.late for trial in some], reach)
        yield score.confidence, abs(score.offset) <= WITHIN + 1e-6 and not score.edge
    for some in zip(*other, strict=False):
        yield together([trial.trace for trial in some]).confidence, False
