"""What a long job has done so far, one line of JSON each, so that a killed job goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any


class Journal:
    """An append-only file of entries, locked by the one process that writes it; others wait.

    A line that a kill cut short is dropped. An entry replaces an earlier one of the same name.

    Args:
        path: the file; made where it doesn't exist.

    Raises:
        RuntimeError: in a worker that imports a script whose work is not under ``if __name__ == "__main__":``: the
            process that started it has the lock and waits for the worker, which would wait for the lock.

    Attributes:
        entries: what was read from the file and appended since, by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Journal:
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
            raise RuntimeError(
                f"{self.path} is being written by the process that started this one, which runs the same script while "
                'importing it: put what the script does under `if __name__ == "__main__":`'
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:  # whoever held the lock may have removed or replaced the file while we waited
            self._file = open(self.path, "a+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for another process that writes {self.path}", file=sys.stderr, flush=True)
                fcntl.flock(self._file, fcntl.LOCK_EX)
            if self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                break
            self._file.close()
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(whole)
                break
            whole += len(line)
            entry = json.loads(line)
            self.entries[entry["name"]] = entry["value"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, name: str, value: dict[str, Any]) -> None:
        """Write one entry down; it survives this process from here on."""
        self._file.write(json.dumps({"name": name, "value": value}).encode() + b"\n")
        self._file.flush()
        self.entries[name] = value

    def remove(self) -> None:
        """Delete the file: the job is done and its result stored."""
        self.path.unlink()


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file that is either whole or not there: to a neighbour first, flushed to the disk, then renamed.

    Args:
        path: the file; its folder is made where it doesn't exist.
        write: called with the open neighbour.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(neighbour, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(neighbour, path)
    finally:
        neighbour.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; what UTF-8 can't hold is escaped."""

    def write(file: IO[bytes]) -> None:
        file.write(text.encode(errors="backslashreplace"))

    write_atomically(path, write)


CHUNK = 1 << 20


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def user_cache() -> Path:
    """The folder for what can be made again: ``$XDG_CACHE_HOME/avssl``, or ``~/.cache/avssl``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avssl"
