"""One estimate from all clips of a source, whose sounds are late by the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from avssl.avsync.score import RunScorer, Score, Scorer, ScorerInput

DIGITS = 4  # of the distances of a curve that are kept
SEVERAL = 2  # clips of a source, at least, for an estimate from them together


class Trace(NamedTuple):
    """The curve of an estimate: where it is least, picture and sound fit best."""

    offsets: tuple[float, ...]  # seconds, ascending
    distances: tuple[float, ...]  # at each


NOTHING = Trace((), ())


def traced(scorer: Scorer, clip: ScorerInput) -> tuple[Score, Trace]:
    """Estimate the offset of a clip; with its curve, if a network that can see the clip estimates."""
    if not isinstance(scorer, RunScorer):
        return scorer(clip), NOTHING
    found = scorer.find(clip)
    if found is None:
        return Score(0.0, 0.0), NOTHING
    offsets, distances = (tuple(round(value, DIGITS) for value in part.tolist()) for part in found.curve[:2])
    return Score(found.seconds, found.confidence, found.at_edge), Trace(offsets, distances)


def together(traces: Sequence[Trace], late: Sequence[float] | None = None, reach: float | None = None) -> Score:
    """Estimate the offset that clips share: that of the mean of their curves (`avssl.sync.offset.offset_from`).

    Args:
        traces: of the clips, which count alike, at least one.
        late: seconds by which the sound of each was made late; the estimate is then that of what is left.
        reach: largest offset to consider, either way; None for all that is known.

    Returns:
        The estimate, with its confidence.
    """
    import torch

    from avssl.sync.offset import Curve, joined, offset_from  # imports networks, which decisions don't need

    curves = []
    for trace, moved in zip(traces, late or [0.0] * len(traces), strict=True):
        offsets = torch.tensor(trace.offsets, dtype=torch.float64) - moved
        inside = offsets.abs() <= (float("inf") if reach is None else reach + 1e-6)
        distances = torch.tensor(trace.distances, dtype=torch.float64)
        alike = torch.ones(int(inside.sum()))
        curves.append(Curve(offsets[inside], distances[inside], alike, alike))
    found = offset_from(joined(curves))
    return Score(found.seconds, found.confidence, found.at_edge)
