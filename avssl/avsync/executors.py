"""Where and how a dataset is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from avssl.avsync.store import Record
from avssl.runtime.checks import check_ranges
from avssl.runtime.workers import Failure, run_parallel


@dataclass
class Execution:
    """Where and how the work is done; the dataset doesn't depend on it.

    Attributes:
        workers: number of processes; None for one per core.
        timeout: seconds after which a source is given up and the process that works on it is killed.
        executor: runs the work instead; it can't kill tasks, so ``timeout`` does not apply.
        shard: (I, N) does only share I of N, counted from 1, and packs nothing.
        retry: try again what was rejected before.
    """

    workers: int | None = None
    timeout: float = 3600.0
    executor: Executor | None = None
    shard: tuple[int, int] | None = None
    retry: bool = False

    def __post_init__(self) -> None:
        check_ranges("", self, workers="[1, inf)", timeout="(0, inf)")

    def run(self, function: Callable[[Any], Record], items: Sequence[Any]) -> Iterator[tuple[int, Record | Failure]]:
        """Call ``function`` on every item, see :func:`avssl.runtime.workers.run_parallel`."""
        timeout = None if self.executor is not None else self.timeout
        return run_parallel(function, items, self.workers, timeout, self.executor)
