"""Batches in a fixed order, from workers that may hang or die.

The batch of a step is a function of (seed, step) alone: any number of workers gives the same batches, and a run that
resumes at step k gives the batches that an uninterrupted one would have given.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, Item, collate
from avssl.data.quarantine import Unreadable
from avssl.media.source import SourceError
from avssl.runtime.seeds import key
from avssl.runtime.workers import start_worker

RESTARTS = 3  # of the workers after a hang or a crash, per pass


@dataclass(frozen=True)
class Steps:
    """Batches of a run: for each step, the (epoch, index) of each of this rank's items.

    Every epoch is a new permutation of the videos, cut into full batches; an epoch leaves out the remainder.

    Args:
        videos: number of videos.
        batch_size: videos per batch, over all ranks.
        stop: number of steps of the whole run.
        start: first step.
        seed: seed of the permutations.
        rank: number of this process, which takes every ``world``-th item of each batch.
        world: number of processes.
        accumulate: consecutive batches of which a step is made; none of these spans two epochs.

    Raises:
        ValueError: if there are fewer videos than a step needs, or the ranks can't share a batch evenly.
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
        if self.batch_size % self.world:
            why = f"{self.world} processes can't share data.batch_size={self.batch_size} evenly"
            raise ValueError(f"{why}: make it a multiple of {self.world}")

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
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world]
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


class _Fetched(Dataset[Any]):
    """The items of a batch at once, or the error that stops the run: torch makes another of one raised in a worker."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __getitems__(self, items: list[tuple[int, int]]) -> list[Item] | SourceError:
        try:
            return [self.dataset[item] for item in items]
        except SourceError as error:
            return error


def _join(fetched: list[Item] | SourceError) -> tuple[Clips, list[Unreadable]] | SourceError:
    return fetched if isinstance(fetched, SourceError) else collate(fetched)


class ClipLoader:
    """Data loader that survives its workers.

    If a worker hangs or dies, the file it was reading is named, quarantined and replaced, and the loader continues with
    the same batch. Above a fraction ``max_bad`` of unreadable videos the run stops. So it does, by a `SourceError`,
    where the bytes of one can't be had now.

    Args:
        dataset: the items.
        batches: which items to load, in which order.
        workers: number of reader processes; 0 reads in this process, without protection against hangs.
        timeout: seconds without a batch after which a worker counts as hung.
        max_bad: largest fraction of unreadable videos.
        pin_memory: return page-locked batches, for a GPU.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batches: Steps | InOrder,
        workers: int = 2,
        timeout: float = 300.0,
        max_bad: float = 0.01,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.batches, self.workers, self.timeout = dataset, batches, workers, timeout
        self.max_bad, self.pin_memory = max_bad, pin_memory
        self.position = batches.start  # the next batch

    def __len__(self) -> int:
        """Return the number of batches of the whole run, including those before ``position``."""
        return len(replace(self.batches, start=0))

    def state_dict(self) -> dict[str, int]:
        """Return the loader's position."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration at the position of the loader that made ``state``."""
        self.position = state["position"]

    def __iter__(self) -> Iterator[Clips]:
        restarts = 0
        while True:
            loader = self._loader(replace(self.batches, start=self.position))
            try:
                for fetched in loader:
                    if isinstance(fetched, SourceError):
                        raise fetched
                    clips, failures = fetched
                    self._count(failures)
                    self.position += 1
                    yield clips
                self.position = self.batches.start
                return
            except (RuntimeError, EOFError, OSError) as error:
                failures = self.dataset.quarantine.culprits(error, self.timeout)
                restarts += 1
                if not failures:
                    raise
                if restarts > RESTARTS:
                    raise RuntimeError(
                        f"the workers hung or died {restarts} times, the last time on {failures[0].path}: "
                        "too often to continue. Fewer workers need less memory; `avssl index` excludes damaged files"
                    ) from error
            del loader
            self._count(failures)

    def _loader(self, batches: Steps | InOrder) -> DataLoader:
        if not self.workers:
            return DataLoader(_Fetched(self.dataset), batch_sampler=batches, collate_fn=_join)
        self.dataset.quarantine.watch(self.workers)
        return DataLoader(
            _Fetched(self.dataset),
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=_join,
            timeout=self.timeout,
            worker_init_fn=start_worker,
            multiprocessing_context=_context(),
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # draws the workers' base seed without the global one
        )

    def _count(self, failures: list[Unreadable]) -> None:
        bad = self.dataset.quarantine
        for failure in failures:
            if bad.add(failure):
                print(f"quarantined {len(bad)} of {len(self.dataset)} videos: {failure.message}", flush=True)
        if len(bad) > max(1.0, self.max_bad * len(self.dataset)):
            raise ValueError(
                f"{len(bad)} of {len(self.dataset)} videos can't be read, more than data.max_bad={self.max_bad:.0%}: "
                f"{next(iter(bad.failures.values())).message} Index the collection again, or raise data.max_bad"
            )


def _context() -> str:
    """Return a start method whose workers inherit no open decoders: forkserver if available."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload(["avssl.data.dataset"])
    return "forkserver"
