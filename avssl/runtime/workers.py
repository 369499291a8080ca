"""One function over many items in other processes, where an item may hang or kill its process."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_messages
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
NEVER = float("inf")
EXECUTOR_WINDOW = 256  # items handed to an executor at a time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 256 << 20  # bytes


@dataclass(frozen=True)
class Failure:
    """An item for which there is no result.

    Attributes:
        code: ``"timeout"`` (it ran longer than allowed and its process was killed), ``"crashed"`` (its process died)
            or ``"error"`` (it raised).
        why: what happened, in words.
        errno: the system's number of an error of the system, such as ``errno.ENOSPC``.
    """

    code: str
    why: str
    errno: int | None = None


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> None:
    """Let this process use memory again that it has freed, up to `KEPT` bytes, instead of giving it back each time.

    Tensors of pictures are larger than what the C library keeps by itself, and fresh memory is slow: the system clears
    every page of it. Does nothing where the C library is not GNU's.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            library.mallopt(option, KEPT)


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
        RuntimeError: where a worker process dies before it starts to work.
    """
    if executor is not None:
        if timeout is not None:
            raise ValueError(f"timeout={timeout} can't be kept by an executor, which kills no task: use timeout=None")
        yield from _run_there(executor, function, items)
        return
    count = min(usable_cores() if workers is None else workers, len(items))
    if count < 1 and items:
        raise ValueError(f"workers={workers}: expected at least 1, or None for one a core")
    queue = deque(enumerate(items))
    pool = [_Worker(function) for _ in range(count)]
    try:
        while queue or any(worker.position is not None for worker in pool):
            for worker in pool:
                if queue and worker.process is None:
                    worker.start()
                if queue and worker.ready and worker.position is None:
                    worker.give(*queue.popleft(), timeout)
            running = {worker.connection: worker for worker in pool if worker.process is not None}
            deadline = min(worker.deadline for worker in pool)
            spoken = wait_for_messages(running, None if deadline == NEVER else max(0.0, deadline - time.monotonic()))
            for connection, worker in running.items():
                if connection in spoken:
                    position, outcome = worker.hear()
                elif time.monotonic() >= worker.deadline:
                    position, outcome = worker.stop(
                        Failure("timeout", f"not done after {timeout:g} s, so it was killed")
                    )
                else:
                    continue
                if position is not None:
                    yield position, outcome
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process, the pipe to it, and the item it works on. There is nothing that processes share, so nothing to lock.

    Attributes:
        process: None where it isn't running.
        ready: whether it has started up.
        position: of the item it works on.
        deadline: when it is to be killed.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.process: SpawnProcess | None = None
        self.ready, self.deadline = False, NEVER
        self.position: int | None = None

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.function, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, position: int, item: Any, timeout: float | None) -> None:
        self.position, self.deadline = position, NEVER if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile: hear() will find out
            self.connection.send(item)

    def hear(self) -> tuple[int | None, Any]:
        """(position of the item, what came of it); no position where it wasn't working on one."""
        assert self.process is not None
        try:
            outcome = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            if not self.ready:
                raise RuntimeError(
                    f"A worker process died with exit code {code} before it began to work. It starts by importing the "
                    'main module: run a script or module whose work stands under `if __name__ == "__main__":`, and '
                    "see what it printed above"
                ) from None
            return self.stop(Failure("crashed", f"the process that worked on it died with exit code {code}"))
        self.ready, position, self.position, self.deadline = True, self.position, None, NEVER
        return position, outcome

    def stop(self, outcome: Failure | None = None) -> tuple[int | None, Failure | None]:
        """Kill it; (position of the item it worked on, the outcome given)."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        position = self.position
        self.process, self.position, self.ready, self.deadline = None, None, False, NEVER
        return position, outcome


def _serve(function: Callable[[Any], Any], connection: Connection) -> None:
    """What a worker process does: say that it is ready, then answer each item, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            connection.send(function(item))  # pickles all of it before a byte is sent
        except Exception as error:
            connection.send(_failure(error))


def follow_parent() -> None:
    """From here on, end this process, even in the middle of an item, when the process that started it is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failure(error: Exception) -> Failure:
    return Failure("error", f"{type(error).__name__}: {error}", getattr(error, "errno", None))


def _run_there(
    executor: Executor, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[int, Result | Failure]]:
    running: dict[Future[Result], int] = {}
    queue = deque(enumerate(items))
    while queue or running:
        while queue and len(running) < EXECUTOR_WINDOW:
            position, item = queue.popleft()
            running[executor.submit(function, item)] = position
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield running.pop(future), future.result() if error is None else _failure(error)


def start_worker(worker: int) -> None:
    """What every process that reads for a `DataLoader` begins with (``worker_init_fn``)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's affair
    follow_parent()  # torch's own watchdog looks at the fork server, which lives as long as its children
    import torch  # workers of other jobs do without

    torch.set_num_threads(1)
    keep_memory()
    sys.excepthook = _report_unless_disconnected


def _report_unless_disconnected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught error, unless it is that the main process has stopped while a batch was handed over."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)
