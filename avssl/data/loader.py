"""Batches in a fixed order, from workers that may hang or die.

The batch of a step is a function of (seed, step) alone: any number of workers gives the same batches, and a run that
resumes at step k gives the batches that an uninterrupted one would have given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from avssl.clips import Clips
from avssl.data.batches import InOrder, Steps
from avssl.data.dataset import ClipDataset, Item, collate
from avssl.data.mixture import Mixture
from avssl.data.quarantine import LATE, Unreadable
from avssl.media.source import SourceError
from avssl.runtime.workers import start_method, start_worker

Batches = Steps | InOrder | Mixture
LOOKS = 5.0  # seconds between two looks whether a worker has died
RESTARTS = 3  # of the workers after a hang or a crash, per pass


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
        batches: Batches,
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
                for fetched in self._fetched(loader):
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

    def _loader(self, batches: Batches) -> DataLoader:
        if not self.workers:
            return DataLoader(_Fetched(self.dataset), batch_sampler=batches, collate_fn=_join)
        self.dataset.quarantine.watch(self.workers)
        return DataLoader(
            _Fetched(self.dataset),
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=_join,
            timeout=self.timeout / math.ceil(self.timeout / LOOKS),
            worker_init_fn=start_worker,
            multiprocessing_context=start_method("avssl.data.dataset"),
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # draws the workers' base seed without the global one
        )

    def _fetched(self, loader: DataLoader) -> Iterator[tuple[Clips, list[Unreadable]] | SourceError]:
        """Yield what the workers fetch; torch looks for dead ones only when it has waited for its own timeout."""
        batches = iter(loader)
        while True:
            until = time.monotonic() + 0.99 * self.timeout
            while True:
                try:
                    fetched = next(batches)
                    break
                except StopIteration:
                    return
                except RuntimeError as error:
                    if not str(error).startswith(LATE) or time.monotonic() > until:
                        raise
            yield fetched

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
