"""A folder that one process may write to at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from avssl.runtime.files import room_in

LOCK = ".lock"  # in the folder; locked while it is in use, and then says by whom
_HELD: set[Path] = set()  # by this process


class InUse(OSError):
    """Another process writes to the folder."""


@contextlib.contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a folder, which is created if needed. It may be nested within one process.

    The system releases the lock when this process ends, however it ends. File systems without locks are noted on
    standard error, and not locked.

    Raises:
        InUse: if another process has it; says which, and since when.
    """
    folder = folder.resolve()
    if folder in _HELD:
        yield
        return
    with room_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOCK, "a+", encoding="utf-8") as file:
            _lock(file.fileno(), folder)
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f" process {os.getpid()} on {socket.gethostname()} since {since}")
            file.flush()
            _HELD.add(folder)
            try:
                yield
            finally:
                _HELD.remove(folder)
                file.truncate(0)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        if lock_descriptor(descriptor, blocking=False):
            return
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"note: the file system of {folder} has no locks: start no other run of this name", file=sys.stderr)
        return
    with open(folder / LOCK, encoding="utf-8") as file:
        file.seek(1)  # on Windows, the first byte is what is locked
        owner = file.read() or "another process"
    raise InUse(f"{folder} is in use by {owner}: wait for it, stop it, or choose another name")
