"""Processes that do one job together, started by ``torchrun`` or any launcher that sets the same variables.

All of them run the same lines. Alone, a process is number 0 of 1, and every function here returns at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

from torch import distributed

Value = TypeVar("Value")
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun for each process
PATIENCE = timedelta(days=7)  # one process may work long while the others wait; the end of a process is noticed at once
_ALONE: list[str] = []  # what process 0 does while the others wait


class ProcessEnded(ConnectionError):
    """Another of the processes of a job has ended, or stopped with an error."""


def world() -> int:
    """Return the number of processes; 1 within `on_first`, where process 0 works alone."""
    return distributed.get_world_size() if _joined() and not _ALONE else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return distributed.get_rank() if _joined() else 0


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _joined() else 0


def local_world() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if _joined() else 1


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the other processes of a launcher for a block of code; nothing happens without one, or if already joined.

    Tensors on the CPU are sent by gloo, those on a GPU by NCCL where there is one.
    """
    if _joined() or not distributed.is_available() or any(name not in os.environ for name in VARIABLES):
        yield
        return
    distributed.init_process_group(timeout=PATIENCE)
    try:
        yield
    finally:
        if _joined():  # Lightning's engine may have left the group
            distributed.destroy_process_group()


def barrier(what: str) -> None:
    """Wait until all processes are here.

    Args:
        what: what all of them work on, in the words of the error: "the features".

    Raises:
        ProcessEnded: if one of them has ended.
    """
    if world() > 1:
        with _named(what):
            distributed.all_gather_object([None] * world(), None)


def from_first(value: Value, what: str = "the results") -> Value:
    """Return the value of process 0 in all processes, which must be picklable; see `barrier`."""
    if world() == 1:
        return value
    kept = [value if rank() == 0 else None]
    with _named(what):
        distributed.broadcast_object_list(kept)
    return kept[0]  # type: ignore[return-value]


def on_first(make: Callable[[], Value], what: str = "the results") -> Value:
    """Call a function in process 0 while the others wait; return its result in all, which must be picklable.

    Functions that it calls see a single process.

    Raises:
        ProcessEnded: in the others, if process 0 has an error, which it raises itself.
    """
    if world() == 1:
        return make()
    if rank():
        done, value = from_first((False, None), what)
        if not done:
            raise ProcessEnded(
                f"process 0 stopped with an error before {what} were complete, and its own message says why"
            )
        return value  # type: ignore[return-value]
    _ALONE.append(what)
    try:
        value = make()
    except BaseException:
        _ALONE.clear()
        from_first((False, None), what)
        raise
    _ALONE.clear()
    return from_first((True, value), what)[1]


def tell(words: str) -> None:
    """Print a line on standard error, once for all processes."""
    if rank() == 0:
        print(words, file=sys.stderr, flush=True)


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessEnded(
            f"process {rank()} of {world()}: another process ended before {what} were complete, and its own message "
            f"says why. Run again to resume ({error})"
        ) from error
