"""Commands in processes of their own that need no start: they are forked from a server that has imported everything.

Importing torch, Lightning and the package takes longer than most tests. `start` and `run` take the words that
`subprocess` takes, and what they start is a process like any other, with its own memory, session, signals, folder,
output and status. Only the start itself is left out; tests of it (of what is imported, of the installed command, of
two processes whose hash seeds differ) use `subprocess`. The fork server from which a command starts its workers is
forked, too: it holds nothing of the command but what is imported.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import multiprocessing.forkserver
import multiprocessing.util
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
IMPORTED = (
    *("avssl.training.config", "avssl.recipe.logs", "avssl.evaluation.config", "avssl.evaluation.run"),
    *("avssl.catalog.copies", "avssl.avsync.builder", "lightning.pytorch.loggers.tensorboard"),
)


class Command:
    """A process that runs a script (``python FILE``), a module (``python -m NAME``) or code (``python -c CODE``)."""

    def __init__(self, words: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        interpreter, *argv = map(str, words)
        assert interpreter == sys.executable
        server, folder = _server()
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.returncode: int | None = None
        asked = {"argv": argv, "cwd": os.path.abspath(cwd or "."), "env": dict(env or os.environ)}
        server.stdin.write(json.dumps(asked | {"folder": str(self.folder)}) + "\n")
        server.stdin.flush()
        self.pid = int(server.stdout.readline())

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        """What it has said of errors and progress."""
        return (self.folder / "stderr").read_text()

    def poll(self) -> int | None:
        """Return the status, negative for a signal, or None while it runs."""
        if self.returncode is None and (ended := self.folder / "status").exists():
            self.returncode = int(ended.read_text())
        return self.returncode

    def wait(self, timeout: float = 240.0) -> int:
        """Return the status when it has ended; after so many seconds kill it and raise `subprocess.TimeoutExpired`."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.stdout + self.stderr, timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


start = Command


def run(words: Sequence[object], check: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with ``check``, its status must be 0."""
    command = Command(words, **options)
    done = subprocess.CompletedProcess(list(words), command.wait(), command.stdout, command.stderr)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


@functools.cache
def _server() -> tuple[Any, str]:
    """Start the server of this process, with a folder; it ends when its input does, and all that it forked with it."""
    folder = tempfile.mkdtemp(prefix="commands-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},  # or libraries start threads when they are imported
        start_new_session=True,
    )
    return server, folder


def _serve() -> dict[str, Any] | None:
    """Fork for every line of the input; return what is asked in the child, and None in the server at the end."""
    running: dict[int, Path] = {}

    def ended(*_: object) -> None:
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            folder = running.pop(pid)
            (folder / "status.half").write_text(str(os.waitstatus_to_exitcode(status)))
            (folder / "status.half").rename(folder / "status")

    signal.signal(signal.SIGCHLD, ended)
    for line in sys.stdin:
        asked = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if not pid:
            os.setsid()
            print(os.getpid(), flush=True)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            return asked
        running[pid] = Path(asked["folder"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    for pid in running:  # of tests that were stopped; with what these started
        os.killpg(pid, signal.SIGKILL)
    return None


def _fork_fork_servers() -> None:
    """Let `multiprocessing` fork its fork servers instead of starting a Python that imports everything again."""
    plain = multiprocessing.util.spawnv_passfds

    def started(path: bytes, words: list[str], passed: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in words[-1]:
            return plain(path, words, passed)
        return os.fork() or _be_fork_server(words[-1], passed)

    multiprocessing.util.spawnv_passfds = started  # type: ignore[assignment]


def _be_fork_server(code: str, passed: Sequence[int]) -> NoReturn:
    """Run a fork server with the signals, files and main module of a Python that was just started."""
    try:
        gc.freeze()  # or what is freed would close files that have the numbers of others by now
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        kept = sorted({0, 1, 2, *passed})
        for before, after in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(before + 1, after)
        sys.modules["__main__"] = ModuleType("__main__")
        multiprocessing.forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined] # is held here
        exec(code, {})
    except BaseException:
        if not isinstance(sys.exception(), SystemExit):
            traceback.print_exc()
    finally:
        os._exit(0)


def _become(argv: list[str], cwd: str, env: dict[str, str], folder: str) -> None:
    """Do what ``python *argv`` does."""
    for number, path in enumerate((os.devnull, f"{folder}/stdout", f"{folder}/stderr")):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place not in ("", *sys.path)]
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv = ["-c", *argv[2:]]
        exec(argv[1], {"__name__": "__main__"})
    else:
        sys.argv = argv
        sys.path.insert(0, os.path.dirname(os.path.abspath(argv[0])))
        runpy.run_path(argv[0], run_name="__main__")


def _status(asked: dict[str, Any]) -> int:
    """Do what is asked; return the status that Python would end with."""
    try:
        _become(**asked)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    for name in IMPORTED:
        importlib.import_module(name)
    _fork_fork_servers()
    gc.collect()
    gc.freeze()  # or every process copies the memory of all that was imported when it collects garbage
    if (asked := _serve()) is not None:
        status = _status(asked)
        threading._shutdown()  # as Python ends, but it would also free all that was imported
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
