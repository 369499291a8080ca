"""Where the work is done: processes of this machine, or any ``concurrent.futures.Executor``, such as Dask's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
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


@contextmanager
def open_executor(address: str | None) -> Iterator[Executor | None]:
    """Yield the executor at an address, or None for the processes of this machine.

    Args:
        address: ``dask://HOST:PORT``, the scheduler of a running Dask cluster. Its workers must import the same avssl
            and reach sources and dataset under the same paths.

    Raises:
        ValueError: for another kind of address, or if dask isn't installed.
        OSError: if no scheduler answers.
    """
    if address is None:
        yield None
        return
    if not address.startswith("dask://"):
        raise ValueError(f"executor={address}: expected dask://HOST:PORT")
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(f"executor={address}: dask is not installed: `pip install 'dask[distributed]'`") from error
    with Client(f"tcp://{address.removeprefix('dask://')}", timeout=20) as client:
        yield client.get_executor(pure=False)


def parse_share(text: str | None) -> tuple[int, int] | None:
    """Parse ``"2/8"``, share I of N, into (2, 8); a ValueError unless 1 <= I <= N."""
    if text is None:
        return None
    first, _, last = text.partition("/")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise ValueError(f"shard={text}: expected I/N with 1 <= I <= N, such as 2/8")
    return int(first), int(last)
