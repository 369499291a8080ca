"""Files that survive a kill: atomic writes, and a journal from which a long job resumes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from filelock import lock_descriptor

CHUNK = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})  # no other file could be written either


class DiskFull(OSError):
    """A file can't be written to a folder, ``filename``, for a reason that the disk gives (``errno``)."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def disk_full(number: int, folder: Path) -> DiskFull:
    """Return the error that says so, with the remedy."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = f"{shutil.disk_usage(there).free / 1e9:.2f} GB free"
    why = f"{os.strerror(number)} ({free}); make room there or choose another folder, then run again to resume"
    return DiskFull(number, why, os.fspath(folder))


@contextlib.contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Let an error of a full disk, in a block that writes to a folder, name that folder and the remedy.

    Raises:
        DiskFull: in place of a nameless error.
    """
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno not in (*FULL, errno.EFBIG):
            raise
        raise disk_full(error.errno, folder) from error


class Journal:
    """Append-only file of named JSON entries; while one process writes it, others wait.

    A line cut short by a kill is dropped. An entry replaces an earlier one of the same name.

    Args:
        path: the file; created if needed.
        keep: hold all entries in memory; otherwise only :meth:`read` gives them.

    Raises:
        RuntimeError: in a worker that imports a script whose work is not under ``if __name__ == "__main__":``. The
            process that started it has the lock and waits for the worker, which would wait for the lock.

    Attributes:
        entries: entries read and appended, by name.
    """

    def __init__(self, path: Path, keep: bool = True) -> None:
        self.path, self.keep = path, keep
        self.entries: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Journal:
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # the check multiprocessing itself makes
            raise RuntimeError(
                f"{self.path} is being written by the process that started this one, which runs the same script while "
                'importing it: put the work of the script under `if __name__ == "__main__":`'
            )
        with room_in(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                self._file.truncate(whole)
                break
            whole += len(line)
            if self.keep:
                entry = json.loads(line)
                self.entries[entry["name"]] = entry["value"]
        return self

    def _lock(self) -> None:
        while True:  # the lock's previous owner may have removed or replaced the file meanwhile
            self._file = open(self.path, "a+b")  # noqa: SIM115 (closed by __exit__)
            if not lock_descriptor(self._file.fileno(), blocking=False):
                print(f"waiting for another process that writes {self.path}", file=sys.stderr, flush=True)
                lock_descriptor(self._file.fileno())
            if self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                break
            self._file.close()

    def __exit__(self, *error: object) -> None:
        with room_in(self.path.parent):
            self._file.close()

    def append(self, name: str, value: dict[str, Any]) -> None:
        """Write one entry; from here on it survives this process."""
        with room_in(self.path.parent):
            self._file.write(json.dumps({"name": name, "value": value}).encode() + b"\n")
            self._file.flush()
        if self.keep:
            self.entries[name] = value

    def read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the names and values of all entries from the file, one by one, in the order written."""
        self._file.flush()
        with open(self.path, "rb") as file:
            for line in file:
                entry = json.loads(line)
                yield entry["name"], entry["value"]

    def remove(self) -> None:
        """Delete the file once the job's result is stored."""
        if os.name == "nt":  # where an open file can't be deleted
            self._file.close()
        with contextlib.suppress(PermissionError):  # on Windows, if another process has opened it
            self.path.unlink()


def flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk. Windows flushes no folders."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(partial: Path, path: Path) -> None:
    """Flush a complete temporary file to disk and rename it to ``path``."""
    flush(partial)
    partial.replace(path)


@contextlib.contextmanager
def growing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to ``path`` if the block ends without an error.

    So ``path`` is either complete or as it was before. If the block writes nothing, nothing changes. The folder is
    created if needed. The temporary name is short, so that ``path`` may be as long as the file system allows.

    Raises:
        DiskFull: if the disk is full.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    with room_in(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if partial.exists():
                settle(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with an open temporary file that becomes ``path``, see :func:`growing`."""
    with growing(path) as partial, open(partial, "wb") as file:
        write(file)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8; characters that can't be encoded are escaped."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def user_cache() -> Path:
    """Return the folder for files that can be recreated: ``$XDG_CACHE_HOME/avssl``, or ``~/.cache/avssl``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avssl"
