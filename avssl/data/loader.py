"""Batches in a fixed order, from workers that may hang or die.

The order of a run is a function of (seed, step) alone: any number of workers gives the same batches, and a run that
begins at step k gives what an uninterrupted one would have given from there on.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.data.quarantine import Unreadable
from avssl.runtime.seeds import key
from avssl.runtime.workers import start_worker

RESTARTS = 3  # times that the workers of one pass are started again after a hang or a crash


@dataclass(frozen=True)
class Steps:
    """The batches of a run: for each step, the (epoch, index) of each of this rank's items.

    Every epoch is a new permutation of the videos, cut into whole batches; what is left over sits out that epoch.

    Args:
        videos: number of videos.
        batch_size: videos a batch, over all ranks.
        stop: number of steps of the whole run.
        start: step at which to begin.
        seed: of the permutations.
        rank: this process; it takes every ``world``-th item of each batch.
        world: number of processes.

    Raises:
        ValueError: where there are fewer videos than a batch holds, or the ranks can't share a batch evenly.
    """

    videos: int
    batch_size: int
    stop: int
    start: int = 0
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.videos < self.batch_size:
            raise ValueError(
                f"a batch holds {self.batch_size} videos but there are only {self.videos}: lower data.batch_size"
            )
        if self.batch_size % self.world:
            raise ValueError(
                f"{self.world} processes can't share a batch of {self.batch_size} videos evenly: "
                f"make data.batch_size a multiple of {self.world}"
            )

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.videos // self.batch_size
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
    """Every video once, in order: the batches of an evaluation. Has the shape of `Steps`.

    Args:
        videos: number of videos.
        batch_size: videos a batch, over all ranks.
        rounds: times that each video is visited, with other draws each time.
        start: batch at which to begin.
        rank: this process; it takes every ``world``-th video.
        world: number of processes.
    """

    videos: int
    batch_size: int
    rounds: int = 1
    start: int = 0
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        own = len(range(self.rank, self.videos * self.rounds, self.world))
        return -(-own // max(1, self.batch_size // self.world)) - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        own = range(self.rank, self.videos * self.rounds, self.world)
        size = max(1, self.batch_size // self.world)
        for begin in range(self.start * size, len(own), size):
            yield [divmod(place, self.videos) for place in own[begin : begin + size]]


class ClipLoader:
    """A data loader that survives its workers.

    A worker that hangs or dies costs the file it was reading: the file is named, quarantined and replaced, and the
    loader goes on with the same batch. Unreadable files are counted; above ``max_bad`` of the videos the run stops.

    Args:
        dataset: what to read.
        batches: which items, in which order.
        workers: processes that read; 0 reads in this one (and then nothing guards against a hang).
        timeout: seconds after which a worker that gives no batch is taken to hang.
        max_bad: largest share of unreadable videos.
        pin_memory: page-locked batches, for a GPU.
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
        self.position = batches.start  # of the next batch

    def __len__(self) -> int:
        """Batches of the whole run, those before ``position`` included."""
        return len(replace(self.batches, start=0))

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration where the loader that made ``state`` stood."""
        self.position = state["position"]

    def __iter__(self) -> Iterator[Clips]:
        restarts = 0
        while True:
            loader = self._loader(replace(self.batches, start=self.position))
            try:
                for clips, failures in loader:
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
                        "too often to go on. Fewer workers need less memory; tools/index.py sorts damaged files out"
                    ) from error
            del loader
            self._count(failures)

    def _loader(self, batches: Steps | InOrder) -> DataLoader:
        if not self.workers:
            return DataLoader(self.dataset, batch_sampler=batches, collate_fn=collate)
        self.dataset.quarantine.watch(self.workers)
        return DataLoader(
            self.dataset,
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=collate,
            timeout=self.timeout,
            worker_init_fn=start_worker,
            multiprocessing_context=_context(),
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # the workers' base seed; leaves the global random numbers alone
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
    """Workers must not inherit open decoders: forkserver where there is one."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload(["avssl.data.dataset"])
    return "forkserver"
