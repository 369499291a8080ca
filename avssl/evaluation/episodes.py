"""Few-shot episodes on frozen features: N classes, K labelled videos of each, Q more to classify.

The usual measure of few-shot recognition (Vinyals et al., NeurIPS 2016; of actions: Zhu & Yang, ECCV 2018, and Cao et
al., CVPR 2020): the accuracy over many small tasks, each with classes and videos of its own. Chance is 1 / N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.evaluation.episode_heads import Head as Head
from avssl.evaluation.episode_heads import classify as classify
from avssl.evaluation.metrics import bootstrap, over_folds
from avssl.evaluation.readout import Bank, Floats, Ints, TooFewLabels, scales
from avssl.evaluation.results import EpisodeAccuracy, Score
from avssl.evaluation.splits import Folds
from avssl.runtime.checks import check_ranges

AT_ONCE = 20_000_000  # numbers of the features of as many episodes as are computed together
BLOCK = 1024  # videos whose features are read together
REDRAWS = 100  # of one episode, whose support may leave too few groups to some class


class Tested(NamedTuple):
    """What a head made of the queries of all episodes.

    Attributes:
        hits: ``[S, E, N * Q]``, 1 where a query is classified rightly with the features of each of S banks.
        groups: of the queries, ``[E * N * Q]``.
        classes: number of classes that episodes were drawn from.
    """

    hits: NDArray[np.float64]
    groups: list[int]
    classes: int

    def accuracy(self) -> EpisodeAccuracy:
        """Return the accuracy, with its interval over groups of queries and over banks."""
        hits = self.hits
        return EpisodeAccuracy(
            float(hits.mean()),
            bootstrap(hits.reshape(len(hits), -1), self.groups, 0),
            ci95_episodes=over_folds(hits.mean((0, 2)).tolist()),
            per_seed=hits.mean((1, 2)).tolist(),
            episodes=hits.shape[1],
            classes=self.classes,
        )

    def gain(self, base: Tested) -> Score:
        """Return by how much it is more accurate than a baseline, over the baseline's banks, on the same queries."""
        more = self.hits.mean(0) - base.hits  # [S, E, N Q]
        return Score(float(more.mean()), bootstrap(more.reshape(len(more), -1), self.groups, 0))


@dataclass(frozen=True)
class Episodes:
    """Few-shot episodes: which are drawn, and how their queries are classified.

    An episode has N random classes. The K support videos of a class are of K different groups (recordings, people), and
    no query is of a group that any support video of the episode is of. With one fold, episodes are drawn from its test
    videos; with several, from all videos, as no label has been used yet. They depend on the labels, the groups and the
    seed alone, so that all encoders get the same ones.

    Features are means over a video's views, standardised without labels (by the training videos of one fold, by all
    videos with several folds), and of unit length. Heads read them frozen:

    - ``linear``: logistic regression with an L2 penalty, to convergence; without intercept, as classes are balanced.
    - ``cosine``: class vectors compared by cosine times 10, as in Baseline++ (Chen et al., ICLR 2019, section 3.2),
      begun at the class means and trained for 100 steps. Chen et al. train the network itself on base classes with such
      a head, then the head from random vectors on batches of 4; here the network is frozen, whatever it was trained on,
      and the head learns from all support videos at once.
    - ``prototypes``: the nearest class mean by Euclidean distance (Snell et al., NeurIPS 2017, equation 2), of features
      that weren't trained for it.
    - ``neighbour``: the class of the nearest support video.

    Args:
        ways: numbers of classes per episode (N).
        shots: numbers of labelled videos per class (K).
        queries: videos to classify per class (Q).
        episodes: number of episodes.
        heads: the heads to use.
        strength: C of ``linear``.
        seed: seed of the draw.
    """

    ways: tuple[int, ...] = (5,)
    shots: tuple[int, ...] = (1, 5)
    queries: int = 15
    episodes: int = 600
    heads: tuple[Head, ...] = ("linear", "cosine", "prototypes", "neighbour")
    strength: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("shots", "queries"), "[1, inf)")
        check_ranges("episodes", self, **counts, ways="[2, inf)", episodes="[2, inf)", strength="(0, inf)")

    def measure(self, banks: Sequence[Bank], folds: Folds, device: torch.device) -> dict[str, EpisodeAccuracy]:
        """Return the accuracy of every head, number of shots and of classes, over one bank per seed of the encoder.

        Names are such as ``"linear 5-shot 5-way"``.

        Raises:
            TooFewLabels: if too few classes have the groups and videos that an episode needs.
        """
        return {name: found.accuracy() for name, found in self.tested(banks, folds, device)}

    def tested(self, banks: Sequence[Bank], folds: Folds, device: torch.device) -> Iterator[tuple[str, Tested]]:
        """Yield which queries are classified rightly, by the names of `measure`, whose arguments these are."""
        alone = folds.folds[0] if len(folds.folds) == 1 else None
        pool = np.asarray(folds.rows if alone is None else alone.test)
        base = pool if alone is None else np.asarray(alone.train)
        labels, groups = banks[0].labels[pool], banks[0].groups[pool]
        features = [torch.from_numpy(_standardised(bank, pool, base)) for bank in banks]
        for ways in self.ways:
            for shots in self.shots:
                support, query = draw_episodes(labels, groups, ways, shots, self.queries, self.episodes, self.seed)
                usable = len(_usable(labels, groups, shots, self.queries))
                asked = groups[query.reshape(-1)].tolist()
                for head in self.heads:
                    hits = np.stack([self._hits(values, support, query, head, device) for values in features])
                    yield f"{head} {shots}-shot {ways}-way", Tested(hits, asked, usable)

    def chance(self) -> dict[str, float]:
        """Return the chance level of each number of classes."""
        return {f"{ways}-way": 1 / ways for ways in self.ways}

    def _hits(
        self, features: Tensor, support: Ints, query: Ints, head: Head, device: torch.device
    ) -> NDArray[np.float64]:
        """Return ``[E, N * Q]``: 1 where a query is classified rightly."""
        episodes, ways, number = query.shape
        per_episode = (support[0].size + query[0].size) * features.shape[1]
        true = torch.arange(ways, device=device).repeat_interleave(number)  # [N Q]
        hits = []
        for part in np.array_split(np.arange(episodes), max(1, math.ceil(episodes * per_episode / AT_ONCE))):
            known = features[torch.from_numpy(support[part])].to(device)  # [E, N, K, D]
            asked = features[torch.from_numpy(query[part])].to(device).flatten(1, 2)  # [E, N Q, D]
            hits.append((classify(known, asked, head, self.strength) == true).cpu())
        return torch.cat(hits).numpy().astype(np.float64)


def draw_episodes(
    labels: NDArray[np.signedinteger], groups: Ints, ways: int, shots: int, queries: int, episodes: int, seed: int
) -> tuple[Ints, Ints]:
    """Draw episodes from videos of classes and groups ``[V]``; see `Episodes`.

    Returns:
        Positions of the support videos ``[E, N, K]`` and of the queries ``[E, N, Q]``, of N random classes.

    Raises:
        TooFewLabels: if fewer than N classes have K + 1 groups and K + Q videos, or their groups can't be parted.
    """
    usable = _usable(labels, groups, shots, queries)
    needs = f"{shots + 1} groups and {shots + queries} videos"
    if len(usable) < ways:
        raise TooFewLabels(
            f"episodes: {len(usable)} of {len(np.unique(labels))} classes have {needs}, too few for {ways}-way "
            f"{shots}-shot episodes with {queries} queries. Lower episodes.ways, episodes.shots or episodes.queries"
        )
    rng = np.random.default_rng([seed, ways, shots, queries])
    members = {label: np.flatnonzero(labels == label) for label in usable}
    drawn = [_draw(rng, members, groups, ways, shots, queries) for _ in range(episodes)]
    return np.stack([support for support, _ in drawn]), np.stack([query for _, query in drawn])


def _usable(labels: NDArray[np.signedinteger], groups: Ints, shots: int, queries: int) -> list[int]:
    """Return the classes with enough groups and videos."""
    return [
        int(label)
        for label in np.unique(labels[labels >= 0])
        if len(np.unique(groups[labels == label])) > shots and (labels == label).sum() >= shots + queries
    ]


def _draw(
    rng: np.random.Generator, members: dict[int, Ints], groups: Ints, ways: int, shots: int, queries: int
) -> tuple[Ints, Ints]:
    """Draw one episode: support ``[N, K]`` and queries ``[N, Q]``."""
    for _ in range(REDRAWS):
        chosen = rng.choice(list(members), ways, replace=False)
        rows = rng.permutation(np.concatenate([members[label] for label in chosen]))
        place = np.repeat(np.arange(ways), [len(members[label]) for label in chosen])
        of = dict(zip(np.concatenate([members[label] for label in chosen]).tolist(), place.tolist(), strict=True))
        support = _support(rng, rows, of, groups, ways, shots)
        if support is None:
            continue
        taken = np.isin(groups[rows], groups[np.concatenate(support)])
        left: list[list[int]] = [[] for _ in range(ways)]
        for row in rows[~taken].tolist():
            left[of[row]].append(row)
        if min(map(len, left)) >= queries:
            return np.array(support), np.array([kept[:queries] for kept in left])
    raise TooFewLabels(
        f"episodes: the groups of {ways} classes can't be parted into {shots} for support and others with {queries} "
        "queries of each class. Lower episodes.shots or episodes.queries, or give finer groups"
    )


def _support(
    rng: np.random.Generator, rows: Ints, of: dict[int, int], groups: Ints, ways: int, shots: int
) -> list[list[int]] | None:
    """Take groups in random order while some class of theirs needs support, and one video of each such class.

    Few groups are taken in this way, so that most are left for queries.
    """
    support: list[list[int]] = [[] for _ in range(ways)]
    by_group: dict[int, list[int]] = {}
    for row, group in zip(rows.tolist(), groups[rows].tolist(), strict=True):
        by_group.setdefault(group, []).append(row)
    missing = ways * shots
    for group in rng.permutation(list(by_group)).tolist():
        given: set[int] = set()
        for row in by_group[group]:
            number = of[row]
            if number not in given and len(support[number]) < shots:
                support[number].append(row)
                given.add(number)
                missing -= 1
        if not missing:
            return support
    return None


def _standardised(bank: Bank, pool: Ints, base: Ints) -> Floats:
    """Return the mean features of the pool's videos ``[P, D]``, standardised by the base's, as unit vectors."""
    total, squares = 0.0, 0.0
    for part in _blocks(bank, base):
        total, squares = total + part.sum(0, dtype=np.float64), squares + np.square(part, dtype=np.float64).sum(0)
    mean = np.asarray(total / len(base))
    spread = scales(mean, np.sqrt(np.maximum(squares / len(base) - np.square(mean), 0)))
    values = np.concatenate([((part - mean) / spread).astype(np.float32) for part in _blocks(bank, pool)])
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _blocks(bank: Bank, rows: Ints) -> Iterator[Floats]:
    """Yield the mean features ``[B, D]`` of some videos after the other."""
    for start in range(0, len(rows), BLOCK):
        yield bank.features[rows[start : start + BLOCK].tolist()].mean(1)
