"""One function over many items in other processes, where an item may hang or kill its process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """An item for which there is no result.

    Attributes:
        code: ``"timeout"`` (it ran longer than allowed and its process was killed), ``"crashed"`` (its process died)
            or ``"error"`` (it raised).
        why: what happened, in words.
        error: what was raised.
    """

    code: str
    why: str
    error: BaseException


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    timeout: float | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[int, Result | Failure]]:
    """Call ``function`` on every item in other processes; one bad item costs that item and nothing else.

    Results come as they are done, each with the position of its item, so that a slow item holds nothing up and what
    is done can be written down at once; put them in order by that position.

    Args:
        function: importable by name, as its processes are started afresh and not forked.
        items: what it is called with, one at a time; picklable.
        workers: number of processes; None for one a usable core.
        timeout: seconds after which the process that works on an item is killed and replaced.
        executor: run there (a cluster, for example) rather than in processes of this machine. An executor offers no
            way to kill a task, so ``timeout`` must be None.

    Yields:
        (position in ``items``, the result or a :class:`Failure`).

    Raises:
        ValueError: for a ``timeout`` together with an ``executor``, or fewer than one worker.
        RuntimeError: where worker processes die before they start to work.
    """
    if executor is not None:
        if timeout is not None:
            raise ValueError(f"timeout={timeout} can't be kept by an executor, which kills no task: use timeout=None")
        yield from _drain(lambda item: executor.submit(function, item), items, window=256)
        return
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1, or None for one a core")
    if not items:
        return
    pool = ProcessPool(max_workers=min(workers, len(items)), context=multiprocessing.get_context("spawn"))
    try:
        yield from _drain(
            lambda item: pool.schedule(function, args=(item,), timeout=timeout), items, window=8 * workers
        )
    finally:
        pool.stop()
        pool.join()


def _drain(
    submit: Callable[[Item], Future[Result]], items: Sequence[Item], window: int
) -> Iterator[tuple[int, Result | Failure]]:
    """Keep at most ``window`` items under way and yield what is done."""
    running: dict[Future[Result], int] = {}
    queue = iter(enumerate(items))
    while True:
        while len(running) < window and (following := next(queue, None)) is not None:
            running[submit(following[1])] = following[0]
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=running.__getitem__):
            position = running.pop(future)
            yield position, _outcome(future)


def _outcome(future: Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool):
        raise RuntimeError(
            "Worker processes died before they began to work. They start by importing the main module: run from a "
            'script or module whose work stands under `if __name__ == "__main__":`, and check the messages above'
        ) from error
    if isinstance(error, ProcessExpired):
        return Failure("crashed", f"the process that read it died with exit code {error.exitcode}", error)
    if isinstance(error, TimeoutError) and error.args[:1] == ("Task timeout",):
        return Failure("timeout", f"not done after {error.args[1]:g} s, so its process was killed", error)
    return Failure("error", f"{type(error).__name__}: {error}", error)
