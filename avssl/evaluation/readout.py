"""The one shape of an evaluation: a read-out scores the test videos of a fold, `cross_validate` does the rest.

A source of features (videos, images, sounds) gives a `Bank`. A read-out is a class with ``scores(bank, fold)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from avssl.evaluation.metrics import Prediction, summarise
from avssl.evaluation.results import Summary
from avssl.evaluation.splits import Fold, Folds
from avssl.runtime.progress import Tally

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """Features of a collection.

    Attributes:
        features: ``[V, M, D]``: M views of each of V videos.
        labels: ``[V]`` classes; for images that show several, ``[V, K]`` of 1, -1 and 0 for difficult.
        groups: ``[V]`` numbers of the units that must not be split, also within training.
        classes: K.
    """

    features: Floats
    labels: NDArray[np.signedinteger]
    groups: Ints
    classes: int

    def in_sequence(self, crops: int) -> Bank:
        """Concatenate the features of a video's clips, so that their order counts.

        Args:
            crops: views per clip, adjacent as in `avssl.evaluation.features.Views`.

        Returns:
            Bank with features ``[V, crops, M / crops * D]``.
        """
        videos, _, width = self.features.shape
        clips = self.features.reshape(videos, -1, crops, width)
        return replace(self, features=clips.swapaxes(1, 2).reshape(videos, crops, -1))


def at_rows(values: Floats, rows: Sequence[int], videos: int) -> Floats:
    """Place ``[R, M, D]`` features at their rows of a collection: ``[V, M, D]``, zero elsewhere."""
    full = np.zeros((videos, *values.shape[1:]), dtype=np.float32)
    full[rows] = values
    return full


@dataclass(frozen=True)
class Scores:
    """Scores of the test videos of one fold.

    Attributes:
        values: ``[V_test, M, K]``: class probabilities of each view.
        chosen: hyperparameter chosen within the training videos, None where nothing is chosen.
    """

    values: Floats
    chosen: Any = None


class Labelled(Protocol):
    """Anything that a read-out can learn from: a `Bank`, or the pixels of labelled videos."""

    @property
    def labels(self) -> NDArray[np.signedinteger]:
        """``[V]`` classes."""
        ...


Source = TypeVar("Source", bound=Labelled, contravariant=True)


class ReadOut(Protocol[Source]):
    """A way to predict classes from a bank."""

    def scores(self, bank: Source, fold: Fold) -> Scores:
        """Learn from the fold's training videos and score its test videos.

        Raises:
            TooFewLabels: where the fold has too few training videos.
        """
        ...


class TooFewLabels(ValueError):
    """A class has fewer training videos than a read-out needs."""


def predictions(
    read_outs: Sequence[ReadOut[Source]], banks: Sequence[Source], folds: Folds, title: str = ""
) -> list[list[Prediction]]:
    """Run every read-out on every bank and fold.

    Args:
        read_outs: one, or several that differ in their seed.
        banks: one, or one per seed of the encoder.
        folds: the folds to run; `Folds.spread` takes some of them.
        title: of the progress bar, which is left out where empty.

    Returns:
        One list per bank and read-out, with one prediction per fold.
    """
    runs = []
    progress = Tally(title, len(banks) * len(read_outs) * len(folds.folds)) if title else nullcontext()
    with progress as tally:
        for bank in banks:
            for read_out in read_outs:
                run = []
                for fold in folds.folds:
                    scores, test = read_out.scores(bank, fold), np.asarray(fold.test)
                    run.append(Prediction(fold.name, fold.part, test, bank.labels[test], scores.values, scores.chosen))
                    if tally is not None:
                        tally.add("folds")
                runs.append(run)
    return runs


def cross_validate(
    read_outs: Sequence[ReadOut[Source]], banks: Sequence[Source], folds: Folds, title: str = ""
) -> Summary:
    """Return the accuracy of a read-out over folds and seeds; for the arguments see `predictions`."""
    return summarise(predictions(read_outs, banks, folds, title), folds.groups)
