"""A cluster to work on instead of processes of this machine, and shares of the work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager


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


def in_share(name: str, shard: tuple[int, int]) -> bool:
    """Return whether an item belongs to share ``I`` of ``N``, counted from 1; it depends on its name alone."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % shard[1] == shard[0] - 1
