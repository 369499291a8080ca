"""Batches from several collections, each with its own share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from avssl.data.batches import check_share, videos_before
from avssl.runtime.checks import check_ranges
from avssl.runtime.seeds import key


@dataclass(frozen=True)
class Mixture:
    """Batches of a run whose items come from several collections by weight, with the interface of `Steps`.

    Of a batch of B, a collection of weight w fills B w places, rounded up or down at random so that its share over many
    steps is w. Every collection is read in passes of its own, each a new permutation, and a small one begins anew while
    a large one is still in its first; the pass is the epoch of its items, so an item never comes twice. What a step
    reads is a function of (seed, step).

    An epoch of the mixture is as many steps as read as many items as there are videos in all collections. It is a unit
    for the length of a run and of its schedules: it reads a collection of a small weight in part.

    Args:
        collections: for each collection the ``[n]`` indices of its items.
        weights: a number for each collection; their sum may be any.
        batch_size: videos per batch, over all ranks; on average if they can't share it evenly (`videos_before`).
        stop: number of steps of the whole run.
        start: first step.
        seed: seed of the shares and permutations.
        rank: number of this process, which takes every ``world``-th item of each batch.
        world: number of processes.

    Raises:
        ValueError: if weights and collections don't correspond, a weight isn't positive, a collection is empty, or
            there are fewer videos in a batch than ranks.
    """

    collections: Sequence[np.ndarray]
    weights: Sequence[float]
    batch_size: int
    stop: int
    start: int = 0
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.collections):
            raise ValueError(
                f"data.weights has {len(self.weights)} numbers and data.root {len(self.collections)} collections: "
                "give one weight for each"
            )
        check_ranges("data", self, weights="(0, inf)")
        for number, items in enumerate(self.collections):
            if len(items) == 0:
                raise ValueError(f"data.root: no video to train on is left in collection {number + 1}: leave it out")
        check_share(self.batch_size, self.world)

    def __len__(self) -> int:
        return self.stop - self.start

    @cached_property
    def _read(self) -> np.ndarray:
        """How many items of each collection are read before each step, ``[stop + 1, collections]``."""
        sizes = np.diff([videos_before(step, self.batch_size, self.world) for step in range(self.stop + 1)])
        offset = np.random.Generator(np.random.PCG64(key(self.seed, 1))).random(self.stop)  # of a comb on the weights
        ends = np.cumsum(self.weights) / np.sum(self.weights) * sizes[:, None]  # [stop, collections]
        below = np.ceil(ends - offset[:, None]).astype(np.int64)  # teeth below each end
        below[:, -1] = sizes
        counts = np.diff(below, axis=1, prepend=0)
        return np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        orders: dict[tuple[int, int], np.ndarray] = {}  # of the current passes
        for step in range(self.start, self.stop):
            items: list[tuple[int, int]] = []
            for number, collection in enumerate(self.collections):
                for place in range(self._read[step, number], self._read[step + 1, number]):
                    epoch, position = divmod(int(place), len(collection))
                    if (number, epoch) not in orders:
                        orders.pop((number, epoch - 1), None)
                        rng = torch.Generator().manual_seed(key(self.seed, epoch, number))
                        orders[number, epoch] = torch.randperm(len(collection), generator=rng).numpy()
                    items.append((epoch, int(collection[orders[number, epoch][position]])))
            yield items[self.rank :: self.world]
