"""Linear probe that sees where and when: maps averaged on a grid, clips in order, or a clip of the whole video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np

from avssl.evaluation.choosing import choose
from avssl.evaluation.descent import TOLERANCE
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.reading import Grid
from avssl.evaluation.readout import Bank, Floats, Ints, Labelled, Scores
from avssl.evaluation.splits import Fold
from avssl.runtime.checks import check_ranges

Seen = Literal["clips", "whole"]


@dataclass(frozen=True)
class Layouts(Labelled):
    """Features of the same videos in several shapes, each by its name."""

    banks: dict[str, Bank]

    @property
    def first(self) -> Bank:
        """Any of the banks."""
        return next(iter(self.banks.values()))

    @property
    def labels(self) -> np.ndarray:  # noqa: D102
        return self.first.labels

    @property
    def groups(self) -> Ints:
        """Groups of all banks."""
        return self.first.groups


@dataclass(frozen=True)
class LayoutProbe:
    """Linear probe on maps averaged on a grid, all cells in order; the shape and C are chosen by inner folds.

    A video is one sample (per crop). It is the regression of the linear probe; where a shape has more numbers than
    there are samples, it is solved among the combinations of samples, which hold its minimum.

    Args:
        grids: candidates for the cells in time, height and width; never more than a map has.
        seen: ``"clips"``: the protocol's clips, one after the other; ``"whole"``: one clip spread over the whole video.
        frames: frames of the clip of the whole video; of a network that does not take as many, the protocol's.
        numbers: largest number of features of a video; shapes with more are left out.
        strengths: candidates for C.
        inner_folds: number of inner folds.
        iterations: largest number of L-BFGS iterations.
    """

    grids: tuple[Grid, ...] = ((1, 1, 1), (4, 1, 1), (4, 2, 2))
    seen: tuple[Seen, ...] = ("clips", "whole")
    frames: int = 32
    numbers: int = 20_000
    strengths: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    inner_folds: int = 3
    iterations: int = 500
    key: ClassVar[str] = "layout"  # of a protocol

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("frames", "numbers", "iterations"), "[1, inf)")
        check_ranges(self.key, self, **counts, strengths="(0, inf)", inner_folds="[2, inf)")
        for grid in self.grids:
            check_ranges(self.key, {"grids": grid}, grids="[1, inf)")
        if not self.grids or not self.seen:
            raise ValueError(f"{self.key}: name at least one of grids and one of seen")

    def scores(self, bank: Layouts, fold: Fold) -> Scores:
        """Return class probabilities, and the chosen shape and C."""
        probe = LinearProbe(iterations=self.iterations)
        pairs = [(name, strength) for name in bank.banks for strength in self.strengths]
        predict = partial(candidates, probe, combine=True)
        chosen = choose(pairs, bank, fold, self.inner_folds, predict)
        return Scores(next(predict(bank, fold.train, fold.test, [chosen])), list(chosen))


@dataclass(frozen=True)
class LayoutMean(LayoutProbe):
    """`MeanOfShapes` with the shapes of a layout probe."""

    key: ClassVar[str] = "layout_mean"

    def scores(self, bank: Layouts, fold: Fold) -> Scores:
        """Return class probabilities, and the chosen C of each shape."""
        return MeanOfShapes(LinearProbe(self.strengths, self.inner_folds, self.iterations)).scores(bank, fold)


@dataclass(frozen=True)
class MeanOfShapes:
    """Mean of the class probabilities of linear probes on all shapes of the features, each with a C of its own.

    Nothing is chosen between shapes: with a hundred videos, the one that does best over inner folds is seldom the best
    for others, and shapes err on different videos.
    """

    probe: LinearProbe

    def choose(self, source: Layouts, fold: Fold) -> dict[str, float]:
        """Return the C of each shape that does best over inner folds of the training videos."""
        probe = self.probe
        return {
            name: choose(probe.strengths, own, fold, probe.inner_folds, partial(probe.candidates, combine=single(own)))
            for name, own in source.banks.items()
        }

    def predict(
        self,
        source: Layouts,
        train: Sequence[int],
        test: Sequence[int],
        strengths: Mapping[str, float],
        scale_on: Sequence[int] = (),
    ) -> Floats:
        """Return class probabilities ``[V_test, 1, K]``; see `LinearProbe.fit_predict`."""
        found = [
            next(self.probe.candidates(own, train, test, (strengths[name],), scale_on, single(own), TOLERANCE)).mean(1)
            for name, own in source.banks.items()
        ]
        return np.mean(found, axis=0)[:, None]

    def scores(self, source: Layouts, fold: Fold) -> Scores:
        """Return class probabilities, and the chosen C of each shape."""
        chosen = self.choose(source, fold)
        return Scores(self.predict(source, fold.train, fold.test, chosen), chosen)


def single(bank: Bank) -> bool:
    """Tell whether a video is one sample: then weights are sought among the combinations of samples."""
    return bank.features.shape[1] == 1


def candidates(
    probe: LinearProbe,
    bank: Layouts,
    train: Sequence[int],
    test: Sequence[int],
    pairs: Sequence[tuple[str, float]],
    combine: bool = False,
) -> Iterator[Floats]:
    """Yield class probabilities ``[V_test, 1, K]`` for each pair of a shape and a strength.

    The pairs of a shape follow each other. Probabilities are means over a video's views, whose number differs between
    shapes.
    """
    for name in dict.fromkeys(name for name, _ in pairs):
        strengths = tuple(strength for other, strength in pairs if other == name)
        for scores in probe.candidates(bank.banks[name], train, test, strengths, combine=combine):
            yield scores.mean(1, keepdims=True)
