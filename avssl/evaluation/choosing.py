"""Choice of a hyperparameter by inner folds of a fold's training videos, whose groups stay whole."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from avssl.evaluation.classes import divide
from avssl.evaluation.precision import average_precisions
from avssl.evaluation.readout import Floats, Ints, Labelled
from avssl.evaluation.splits import Fold

ENOUGH = 10_000  # held-out videos that decide; more would take longer and change little
Choice = TypeVar("Choice")
Bank = TypeVar("Bank", bound=Labelled)


def choose(
    values: Sequence[Choice],
    bank: Bank,
    fold: Fold,
    inner_folds: int,
    predict: Callable[[Bank, Sequence[int], Sequence[int], Sequence[Choice]], Iterable[Floats]],
    rounds: int | None = None,
) -> Choice:
    """Choose the value that does best over inner folds of the training videos; ties go to the first.

    Best is the highest video accuracy; with several classes per video, the highest mean average precision. Where
    an inner fold holds more than 10,000 videos out, as many of them decide, drawn with a fixed seed, and no other fold.

    Args:
        values: candidates.
        bank: what the fold is of; it has ``groups``.
        fold: its training videos are divided.
        inner_folds: number of inner folds, if there are as many groups.
        predict: given the bank, training videos, other videos and the candidates, returns class probabilities
            ``[V, M, K]`` of the other videos for each candidate.
        rounds: number of inner folds that are held out in turn; None for all.

    Raises:
        ValueError: if all training videos are in one group.
    """
    if len(values) == 1:
        return values[0]
    train = np.asarray(fold.train)
    labels = bank.labels[train]
    reached = [0.0] * len(values)
    for inner, held in inner_parts(bank, fold, inner_folds)[:rounds]:
        large = len(held) > ENOUGH
        if large:
            held = np.sort(np.random.default_rng(0).choice(held, ENOUGH, replace=False))
        found = predict(bank, train[inner].tolist(), train[held].tolist(), values)
        for place, scores in enumerate(found):
            reached[place] += worth(labels[held], scores.mean(1))
        if large:
            break
    return values[int(np.argmax(reached))]


def inner_parts(bank: Labelled, fold: Fold, inner_folds: int) -> list[tuple[Ints, Ints]]:
    """Return places in ``fold.train`` of the training and the held-out videos of each inner fold that can be used."""
    train = np.asarray(fold.train)
    labels, groups = bank.labels[train], bank.groups[train]  # type: ignore[attr-defined]
    parts = min(inner_folds, len(np.unique(groups)))
    if parts < 2:
        raise ValueError(
            f"split {fold.name}: all {len(train)} training videos are in one group, so nothing can be chosen within "
            "training. Give a single value (linear.strengths, neighbours.ks) or finer groups"
        )
    if labels.ndim == 2:
        places = divide(labels, np.unique(groups, return_inverse=True)[1], parts, seed=0)
        return [(np.flatnonzero(places != part), np.flatnonzero(places == part)) for part in range(parts)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # rare classes may miss an inner fold
        alone = len(train) > ENOUGH and len(np.unique(groups)) == len(train)  # then without a table of all groups
        kind = StratifiedKFold if alone else StratifiedGroupKFold
        pairs = kind(parts, shuffle=True, random_state=0).split(labels, labels, groups)
        return [(inner, held) for inner, held in pairs if len(np.unique(labels[inner])) > 1 and len(held)]


def worth(labels: NDArray[np.signedinteger], scores: Floats) -> float:
    """Return the number of videos that are right; with several classes per video, their mean average precision."""
    if labels.ndim == 1:
        return float((scores.argmax(1) == labels).sum())
    once = np.ones((1, len(labels)), dtype=np.int64)
    shown = np.flatnonzero((labels > 0).any(0))
    return float(np.mean([average_precisions(labels[:, k], scores[:, k], once)[0][0] for k in shown] or [0.0]))
