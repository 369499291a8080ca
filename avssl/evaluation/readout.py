"""Cross-validation of a read-out: it scores the test videos of each fold, and `cross_validate` does the rest.

A source (videos, images, sounds) is a function that returns a `Bank`;
a read-out is a class with ``scores(bank, fold)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from avssl.evaluation.metrics import Prediction, Scoring, summarise
from avssl.evaluation.precision import summarise_several
from avssl.evaluation.results import AveragePrecision, Summary
from avssl.evaluation.splits import Fold, Folds
from avssl.evaluation.store import Floats, Shards
from avssl.runtime.progress import Tally

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """Features of a collection.

    Attributes:
        features: ``[V, M, D]``: M views of each of V videos, as an array or on the disk.
        labels: ``[V]`` classes; with several classes per video ``[V, K]``: 1 shown, -1 not shown, 0 difficult.
        groups: ``[V]`` numbers of the units that must not be split, not within training either.
        classes: K.
        device: torch device on which read-outs work where they are large.
    """

    features: Floats | Shards
    labels: NDArray[np.signedinteger]
    groups: Ints
    classes: int
    device: str = "cpu"

    def in_sequence(self, crops: int) -> Bank:
        """Concatenate the features of a video's clips, so that their order counts: ``[V, crops, M / crops * D]``.

        The ``crops`` views of a clip are adjacent, as in `avssl.evaluation.features.Views`.
        """
        return self._through(partial(rearrange, pattern="v (clip crop) d -> v crop (clip d)", crop=crops))

    def over_time(self, width: int) -> Bank:
        """Average the ``width`` features of a view's segments, so that their order does not count."""
        return self._through(partial(_over_time, width=width))

    def columns(self, start: int, stop: int) -> Bank:
        """Keep some of the D numbers, such as those of a layer."""
        return self._through(itemgetter((..., slice(start, stop))))

    def video_means(self, rows: Sequence[int]) -> Floats:
        """Average the views of some videos: ``[len(rows), D]``."""
        if isinstance(self.features, np.ndarray):
            return self.features[rows].mean(1)
        return np.concatenate([values.mean(1) for _, values in self.features.blocks(rows)])

    def _through(self, function: Callable[[Floats], Floats]) -> Bank:
        """Apply a function that works on each video by itself; features on the disk go through it when read."""
        found = self.features
        return replace(self, features=function(found) if isinstance(found, np.ndarray) else found.mapped(function))


def _over_time(values: Floats, width: int) -> Floats:
    return values.reshape(*values.shape[:2], values.shape[2] // width, width).mean(2)


def scales(mean: NDArray[np.floating], deviation: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return by what features ``[D]`` are divided: their deviation, or 1 for a dead channel, which stays at zero."""
    return np.where(deviation > 1e-6 * (np.abs(mean) + 1e-12), deviation, 1)


@overload
def at_rows(values: Floats, rows: Sequence[int], videos: int) -> Floats: ...
@overload
def at_rows(values: Floats | Shards, rows: Sequence[int], videos: int) -> Floats | Shards: ...
def at_rows(values: Floats | Shards, rows: Sequence[int], videos: int) -> Floats | Shards:
    """Place ``[R, M, D]`` features at their rows of a collection: ``[V, M, D]``, zero elsewhere.

    Features on the disk stay there, and those of a whole collection as they are.
    """
    if not isinstance(values, np.ndarray):
        return values.placed(rows, videos)
    if list(rows) == list(range(videos)):
        return values
    full = np.zeros((videos, *values.shape[1:]), dtype=np.float32)
    full[rows] = values
    return full


@dataclass(frozen=True)
class Scores:
    """Class probabilities ``[V_test, M, K]`` of a fold's test views; the hyperparameter chosen in training, if any."""

    values: Floats
    chosen: Any = None


class Labelled(Protocol):
    """A `Bank`, or the pixels of labelled videos."""

    @property
    def labels(self) -> NDArray[np.signedinteger]: ...  # noqa: D102


Source = TypeVar("Source", bound=Labelled, contravariant=True)


class ReadOut(Protocol[Source]):
    """A way to predict classes from a bank."""

    def scores(self, bank: Source, fold: Fold) -> Scores:
        """Learn from the fold's training videos and score its test videos.

        Raises:
            TooFewLabels: if the fold has too few training videos.
        """
        ...


class TooFewLabels(ValueError):
    """A class has fewer training videos than a read-out needs."""


def predictions(
    read_outs: Sequence[ReadOut[Source]], banks: Sequence[Source], folds: Folds, title: str = ""
) -> list[list[Prediction]]:
    """Run every read-out on every bank and fold; return a list per bank and read-out, with a prediction per fold.

    Args:
        read_outs: one, or several that differ in their seed.
        banks: one, or one per seed of the encoder.
        folds: all, or some by `Folds.spread`.
        title: title of the progress bar; none is shown if empty.
    """
    runs: list[list[Prediction]] = []
    progress = Tally(title, len(banks) * len(read_outs) * len(folds.folds)) if title else nullcontext()
    with progress as tally:
        for bank, read_out in product(banks, read_outs):
            runs.append([])
            for fold in folds.folds:
                scores, test = read_out.scores(bank, fold), np.asarray(fold.test)
                runs[-1].append(Prediction(fold.name, fold.part, test, bank.labels[test], scores.values, scores.chosen))
                if tally is not None:
                    tally.add("folds")
    return runs


def cross_validate(
    read_outs: Sequence[ReadOut[Source]],
    banks: Sequence[Source],
    folds: Folds,
    title: str = "",
    scoring: Scoring = Scoring(),  # noqa: B008
) -> Summary:
    """Summarise the `predictions` of a read-out over folds and seeds; takes the same arguments."""
    return summarise(predictions(read_outs, banks, folds, title), folds.groups, scoring=scoring)


def cross_validate_several(
    read_outs: Sequence[ReadOut[Source]],
    banks: Sequence[Source],
    folds: Folds,
    classes: Sequence[str],
    title: str = "",
    scoring: Scoring = Scoring(),  # noqa: B008
) -> AveragePrecision:
    """Compute the mean average precision of a read-out where videos show several classes, like `cross_validate`."""
    runs = predictions(read_outs, banks, folds, title)
    chosen = [[one.chosen for one in run] for run in runs]
    found = summarise_several(runs, folds.groups, classes, scoring=scoring)["mAP"]
    return replace(found, chosen=None if chosen[0][0] is None else chosen)
