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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_messages
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
NEVER = float("inf")
EXECUTOR_WINDOW = 256  # items submitted to an executor at a time
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 256 << 20  # bytes
PRELOADED: list[str] = []  # modules that the fork server imports for a program whose processes do different things


@dataclass(frozen=True)
class Failure:
    """Outcome of an item without a result.

    ``code`` is ``"timeout"`` (it took longer than allowed and its process was killed), ``"crashed"`` (its process died)
    or ``"error"`` (it raised); ``errno`` is the number of a system error, such as ``errno.ENOSPC``; ``stops`` is an
    error that says, by an attribute of that name, that the whole work can't go on.
    """

    code: str
    why: str
    errno: int | None = None
    stops: Exception | None = None


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_memory() -> None:
    """Let this process reuse up to `KEPT` bytes of freed memory instead of returning it to the system each time.

    Image tensors are larger than what the C library keeps by default, and fresh memory is slow because the system
    clears every page. Does nothing unless the C library is GNU's.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            library.mallopt(option, KEPT)


def start_method(*modules: str) -> str:
    """Return how processes start that inherit nothing open from this one: by the fork server, if there is one.

    The first call chooses what it imports, once for all processes: ``modules`` and `PRELOADED`.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return "spawn"
    multiprocessing.set_forkserver_preload([*PRELOADED, *(name for name in modules if "__" not in name)])
    return "forkserver"


def run_parallel(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int | None = None,
    timeout: float | None = None,
    executor: Executor | None = None,
) -> Iterator[tuple[int, Result | Failure]]:
    """Call ``function`` on every item in other processes; a bad item costs only itself.

    Results come in order of completion, so that a slow item delays nothing and each result can be stored at once.

    Args:
        function: importable by name, since processes don't come from this one, see `start_method`.
        items: its arguments, one per call; picklable.
        workers: number of processes; None for one per usable core.
        timeout: seconds after which the process that works on an item is killed and replaced.
        executor: where to run instead, for example a cluster. An executor can't kill a task, so ``timeout`` must be
            None.

    Yields:
        (position in ``items``, the result or a :class:`Failure`).

    Raises:
        ValueError: for a ``timeout`` together with an ``executor``, or fewer than one worker.
        RuntimeError: if a worker process dies before it starts to work.
    """
    if executor is not None:
        if timeout is not None:
            raise ValueError(f"timeout={timeout}: an executor can't kill a task, use timeout=None")
        yield from _run_in_executor(executor, function, items)
        return
    count = min(usable_cores() if workers is None else workers, len(items))
    if count < 1 and items:
        raise ValueError(f"workers={workers}: expected at least 1, or None for one per core")
    given = 0  # items are taken one by one: there may be very many
    pool = [_Worker(function) for _ in range(count)]
    try:
        while given < len(items) or any(worker.position is not None for worker in pool):
            for worker in pool:
                if given < len(items) and worker.process is None:
                    worker.start()
                if given < len(items) and worker.ready and worker.position is None:
                    worker.assign(given, items[given], timeout)
                    given += 1
            running = {worker.connection: worker for worker in pool if worker.process is not None}
            deadline = min(worker.deadline for worker in pool)
            heard = wait_for_messages(running, None if deadline == NEVER else max(0.0, deadline - time.monotonic()))
            for connection, worker in running.items():
                if connection in heard:
                    position, outcome = worker.receive()
                elif time.monotonic() >= worker.deadline:
                    position, outcome = worker.stop(Failure("timeout", f"killed: not done after {timeout:g} s"))
                else:
                    continue
                if position is not None:
                    yield position, outcome
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process, the pipe to it, and the item it works on. Processes share nothing, so nothing needs a lock."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.process: BaseProcess | None = None  # None if not running
        self.ready, self.deadline = False, NEVER  # has started up; time at which to kill it
        self.position: int | None = None  # of the item it works on

    def start(self) -> None:
        context = multiprocessing.get_context(start_method(self.function.__module__))
        self.connection, theirs = context.Pipe()
        arguments = self.function, theirs, dict(os.environ)
        process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=arguments, daemon=True
        )
        process.start()
        self.process = process
        theirs.close()

    def assign(self, position: int, item: Any, timeout: float | None) -> None:
        self.position, self.deadline = position, NEVER if timeout is None else time.monotonic() + timeout
        with contextlib.suppress(BrokenPipeError):  # it has died: receive() will notice
            self.connection.send(item)

    def receive(self) -> tuple[int | None, Any]:
        """Return (position of the item, its outcome); the position is None if there was no item."""
        assert self.process is not None
        try:
            outcome = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            if not self.ready:
                raise RuntimeError(
                    f"A worker process died with exit code {code} before it started to work. It first imports the main "
                    'module: run a script or module whose work is under `if __name__ == "__main__":`, and see the '
                    "output above"
                ) from None
            return self.stop(Failure("crashed", f"the process that worked on it died with exit code {code}"))
        self.ready, position, self.position, self.deadline = True, self.position, None, NEVER
        return position, outcome

    def stop(self, outcome: Failure | None = None) -> tuple[int | None, Failure | None]:
        """Kill it; return (position of the item it worked on, ``outcome``)."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
        position = self.position
        self.process, self.position, self.ready, self.deadline = None, None, False, NEVER
        return position, outcome


def _serve(function: Callable[[Any], Any], connection: Connection, environment: dict[str, str]) -> None:
    """Run a worker process: report ready, then answer each item until the other side is gone."""
    _follow_parent()
    os.environ.clear()  # a fork server has that of its own start
    os.environ.update(environment)
    connection.send(None)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            connection.send(function(item))  # pickles everything before it sends a byte
        except Exception as error:
            connection.send(_failure(error))


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and end this one, even in the middle of an item, when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failure(error: Exception) -> Failure:
    stops = error if getattr(error, "stops", False) else None
    return Failure("error", f"{type(error).__name__}: {error}", getattr(error, "errno", None), stops)


def _run_in_executor(
    executor: Executor, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[int, Result | Failure]]:
    running: dict[Future[Result], int] = {}
    given = 0
    while given < len(items) or running:
        while given < len(items) and len(running) < EXECUTOR_WINDOW:
            running[executor.submit(function, items[given])] = given
            given += 1
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            yield running.pop(future), future.result() if error is None else _failure(error)


def start_worker(worker: int) -> None:
    """Set up a reader process of a `DataLoader` (its ``worker_init_fn``)."""
    _follow_parent()  # torch's own watchdog looks at the fork server, which outlives its children
    import torch  # workers of other jobs do without

    torch.set_num_threads(1)
    keep_memory()
    sys.excepthook = _report_unless_disconnected


def _report_unless_disconnected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught error, unless it is that the main process has stopped while a batch was handed over."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, trace)
