"""Which items each step of a run reads: a function of (seed, step) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from avssl.runtime.seeds import key


def videos_before(step: int, batch_size: int, world: int) -> int:
    """Return how many videos all ranks together read before a step, so that each reads equally many in every step.

    If ``world`` ranks can't share a batch evenly, steps have the multiple of ``world`` below or above ``batch_size``,
    and ``batch_size`` on average: a loss that compares the items of all ranks needs equally many of each, and so does
    DDP's gradient, the mean over ranks.
    """
    return world * (step * batch_size // world)


def check_share(batch_size: int, world: int) -> None:
    """Raise `ValueError` unless a batch has a video for each of so many processes."""
    if batch_size < world:
        raise ValueError(f"data.batch_size={batch_size} is less than one video for each of {world} processes")


@dataclass(frozen=True)
class Steps:
    """Batches of a run: for each step, the (epoch, index) of each of this rank's items.

    Every epoch is a new permutation of the videos, cut into full batches; an epoch leaves out the remainder.

    Args:
        videos: number of videos.
        batch_size: videos per batch, over all ranks; on average if they can't share it evenly (`videos_before`).
        stop: number of steps of the whole run.
        start: first step.
        seed: seed of the permutations.
        rank: number of this process, which takes every ``world``-th item of each batch.
        world: number of processes.
        accumulate: consecutive batches of which a step is made; none of these spans two epochs.

    Raises:
        ValueError: if there are fewer videos than a step needs, or fewer videos in a batch than ranks.
    """

    videos: int
    batch_size: int
    stop: int
    start: int = 0
    seed: int = 0
    rank: int = 0
    world: int = 1
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.videos < self.batch_size * self.accumulate:
            times = f" or recipe.accumulate={self.accumulate}" if self.accumulate > 1 else ""
            raise ValueError(f"there are only {self.videos} videos: lower data.batch_size={self.batch_size}{times}")
        check_share(self.batch_size, self.world)

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.videos // (self.batch_size * self.accumulate) * self.accumulate
        order, shuffled = torch.empty(0), -1
        for step in range(self.start, self.stop):
            epoch, batch = divmod(step, per_epoch)
            if epoch != shuffled:
                order = torch.randperm(self.videos, generator=torch.Generator().manual_seed(key(self.seed, epoch)))
                shuffled = epoch
            begin, end = (videos_before(number, self.batch_size, self.world) for number in (batch, batch + 1))
            chosen = order[begin:end][self.rank :: self.world]
            yield [(epoch, index) for index in chosen.tolist()]


@dataclass(frozen=True)
class InOrder:
    """Batches of an evaluation: every video in order, with the interface of `Steps`.

    The batches are the same for any number of processes, each of which takes every ``world``-th. All load equally many,
    so that their networks may share work: one that has run out loads the last batch again, see `numbers`.

    Args:
        rounds: number of visits to each video, each with new draws.
        start: first of this process's batches.
        chosen: the videos to visit, in this order; all if None.
        videos, batch_size, rank, world: as in `Steps`.
    """

    videos: int
    batch_size: int
    rounds: int = 1
    start: int = 0
    rank: int = 0
    world: int = 1
    chosen: tuple[int, ...] | None = None

    @property
    def visited(self) -> int:
        """Number of videos visited in a round."""
        return self.videos if self.chosen is None else len(self.chosen)

    @property
    def numbers(self) -> range:
        """Return this process's batches by their place among all; those from ``total`` on repeat the last."""
        return range(self.rank + self.start * self.world, -(-self.total // self.world) * self.world, self.world)

    @property
    def total(self) -> int:
        """Number of batches of all processes."""
        return -(-self.visited * self.rounds // self.batch_size)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in self.numbers:
            begin = min(number, self.total - 1) * self.batch_size
            places = range(begin, min(begin + self.batch_size, self.visited * self.rounds))
            visits = (divmod(place, self.visited) for place in places)
            yield [(turn, place if self.chosen is None else self.chosen[place]) for turn, place in visits]
