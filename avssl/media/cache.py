"""Copies of whole objects in a folder of bounded size that many processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import IO, NamedTuple

from filelock import FileLock, Timeout

from avssl.media.client import client_of
from avssl.media.source import Source, SourceError
from avssl.media.stores import find_store
from avssl.runtime.files import settle

PIECE = 8 << 20  # bytes of one request
LOCKS = 64  # processes that copy different objects seldom wait for each other
SMALL = 2 << 20  # bytes of an object that is copied at once: reading it by ranges takes as many requests
COUNTED = 100_000  # objects of which a process knows how much it has read
BINARY = getattr(os, "O_BINARY", 0)  # Windows changes line ends otherwise
ABANDONED = 3600.0  # seconds after which an unfinished copy counts as left behind by a killed process


class CachedFile(NamedTuple):
    """An open copy. It stays readable if it is evicted meanwhile."""

    descriptor: int

    def pread(self, n: int, offset: int) -> bytes:
        """Return ``n`` bytes from ``offset`` of the object."""
        parts = []
        while n:
            part = _pread(self.descriptor, n, offset)
            if not part:
                raise OSError(f"a copy in the cache is shorter than it was when it was opened (byte {offset})")
            parts.append(part)
            n, offset = n - len(part), offset + len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class Cache:
    """A folder of copies.

    A copy is named after its object's address and version, and is complete or absent. It is deleted when others need
    its room and it was used least recently.

    Args:
        folder: created if needed.
        max_bytes: size of all copies.
    """

    def __init__(self, folder: str, max_bytes: int) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        self._read: OrderedDict[Path, int] = OrderedDict()  # bytes read by ranges, by the name of a copy

    def find(self, source: Source) -> CachedFile | None:
        """Open the copy of an object, if there is one."""
        path = self._path(source)
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | BINARY)
            if os.fstat(descriptor).st_size == source.size_bytes:
                os.utime(path)
                return CachedFile(descriptor)
            os.close(descriptor)
        return None

    def worth(self, source: Source, length: int) -> bool:
        """Count bytes that are about to be read by ranges; return True if a copy would have cost less by then."""
        if source.size_bytes <= SMALL:
            return True
        path = self._path(source)
        self._read[path] = self._read.pop(path, 0) + length
        if len(self._read) > COUNTED:
            self._read.popitem(last=False)
        return self._read[path] > source.size_bytes

    def copy(self, source: Source, wait: bool = True) -> CachedFile | None:
        """Copy an object and open the copy; None if it is larger than the cache.

        If another process copies it, wait for that one, or return None.

        Raises:
            SourceError: if it can't be read.
            OSError: naming the folder, if it can't be written.
        """
        if source.size_bytes > self.max_bytes:
            return None
        path = self._path(source)
        self._read.pop(path, None)
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(locks / f"{int(path.name[:8], 16) % LOCKS}.lock", blocking=wait):
                return self.find(source) or self._fetch(source, path)
        except Timeout:
            return None

    def _fetch(self, source: Source, path: Path) -> CachedFile:
        partial = path.with_name(path.name + ".partial")  # written under the lock alone
        try:
            with FileLock(self.folder / "locks" / "room.lock"):
                self._make_room(source.size_bytes, path)
                with open(partial, "wb") as file:
                    file.truncate(source.size_bytes)  # what others count while it grows
            with open(partial, "r+b") as file:
                try:
                    self._copy_ranges(source, file)
                except SourceError as error:
                    if error.code != "no_range":
                        raise
                    client_of(source.store).download(source.path, file, source.size_bytes, source.etag)
            descriptor = os.open(partial, os.O_RDONLY | BINARY)  # it may be evicted before anyone opens it by name
            settle(partial, path)
            return CachedFile(descriptor)
        except OSError as error:
            raise OSError(
                error.errno, f"{self.folder}: no copy of {source} can be written: {error.strerror}"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _copy_ranges(self, source: Source, file: IO[bytes]) -> None:
        client, version = client_of(source.store), source.etag
        for first in range(0, source.size_bytes, PIECE):
            part = client.read(source.path, first, min(PIECE, source.size_bytes - first), source.size_bytes, version)
            version = version or part.etag
            file.write(part.data)

    def _make_room(self, needed: int, path: Path) -> None:
        """Delete older versions of an object, then what was used least recently, until ``needed`` bytes fit."""
        entries = []
        with os.scandir(self.folder) as found:
            for entry in found:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file():
                        facts = entry.stat()
                        entries.append((facts.st_mtime, facts.st_size, entry.name))
        total, now = sum(size for _, size, _ in entries), time.time()
        stem = path.name.partition(".")[0]
        entries.sort(key=lambda entry: (entry[2].partition(".")[0] != stem, entry))
        for used, size, name in entries:
            older = name.partition(".")[0] == stem
            if name.endswith(".partial") and now - used < ABANDONED:
                continue
            if older or total + needed > self.max_bytes:
                with contextlib.suppress(OSError):  # gone already; or open, on Windows
                    os.unlink(self.folder / name)
                    total -= size

    def _path(self, source: Source) -> Path:
        store = find_store(source.store)
        where = hashlib.sha256(f"{store.endpoint or ''}\n{store.url}\n{source.path}".encode()).hexdigest()[:32]
        version = hashlib.sha256(f"{source.etag}\n{source.size_bytes}".encode()).hexdigest()[:16]
        return self.folder / f"{where}.{version}"


def _pread(descriptor: int, n: int, offset: int) -> bytes:
    if hasattr(os, "pread"):  # which two processes can do at once; on Windows, none inherits an open file
        return os.pread(descriptor, n, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, n)
