"""Read a stretch of a larger file, and nothing else of it: a member of a tar archive, or an object in a store."""

from __future__ import annotations

import errno
import importlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from avssl.media.source import Source, SourceError
from avssl.media.tarheader import BLOCK, LARGE, parse_header
from avssl.runtime.files import user_cache

_MOVING = threading.Lock()  # held where the system (Windows) can't read without moving a file's position
# As far as the system has them. Opening a pipe must not wait for its writer.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
UNPACKED = "unpacked:"
_MARK = re.compile(UNPACKED + "[0-9a-f]{64}")
_REBUILD = "Restore the file as it was, or rebuild the manifest"


class Range(Protocol):
    """The bytes of one recording, wherever they are.

    Attributes:
        size: length of the recording.
    """

    size: int

    def pread(self, n: int, offset: int) -> bytes:
        """Read ``n`` bytes from ``offset``, counted from the recording's first byte; fewer only at its end.

        Raises:
            SourceError: if they can't be had.
        """

    def close(self) -> None:
        """Release the file or connection."""


def whole(path: str | Path) -> Source:
    """Return a local file as a source from its first byte to its last, such as an archive to be indexed.

    Raises:
        SourceError: ``not_found``, ``denied`` or ``unreadable``.
    """
    place = os.path.abspath(path)
    try:
        facts = os.stat(place)
    except OSError as error:
        raise _failure(place, error) from error
    return Source(place, num_bytes=facts.st_size, size_bytes=facts.st_size, mtime_ns=facts.st_mtime_ns)


def open_range(source: Source) -> Range:
    """Open a source for reading; the modules for stores are loaded with the first object.

    Raises:
        SourceError: if it can't be read now, or is no longer what the source describes.
    """
    if source.store:
        remote: Range = importlib.import_module("avssl.media.remote").open_remote(source)
        return remote
    if source.etag:
        if not _MARK.fullmatch(source.etag):
            raise SourceError(source, "changed", f"{source.etag!a} marks no copy of it", _REBUILD)
        copy = copy_of(source.etag)
        if not copy.is_file():
            why = f"its copy {copy} is gone"
            raise SourceError(source, "not_found", why, "Index the collection again, which unpacks it")
        size = source.num_bytes
        return LocalRange(Source(str(copy), num_bytes=size, size_bytes=size))
    return LocalRange(source)


def copy_of(mark: str) -> Path:
    """Return the copy in the user's cache of a recording that lies compressed in its file.

    Args:
        mark: ``"unpacked:"`` and the SHA-256 of the recording.
    """
    digest = mark.removeprefix(UNPACKED)
    return user_cache() / "unpacked" / digest[:2] / digest


class LocalRange:
    """Bytes of a local file, read at a position and without moving one: processes forked after opening can share it.

    On opening, the file must have the size that the source states, and its modification time if that is known. A member
    of a tar archive must still have its header before it instead of the time, as archives are copied.

    Raises:
        SourceError: ``not_found``, ``denied`` or ``unreadable``, or ``changed`` if the file is another one now.
    """

    _file = -1

    def __init__(self, source: Source) -> None:
        self._source, self.size = source, source.num_bytes
        try:
            self._file = _open(source.path)
        except OSError as error:
            raise _failure(source, error) from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        source, facts = self._source, os.fstat(self._file)
        if not stat.S_ISREG(facts.st_mode):
            raise SourceError(source, "not_file", "this is not a regular file", "Give the path of a file")
        if facts.st_size != source.size_bytes:
            raise self._changed(f"the file has {facts.st_size} bytes, expected {source.size_bytes}")
        if not 0 <= source.offset <= source.offset + source.num_bytes <= facts.st_size:
            raise self._changed(f"{source.num_bytes} bytes from byte {source.offset} don't lie in {facts.st_size}")
        if source.in_tar:
            self._check_member()
        elif source.mtime_ns is not None and facts.st_mtime_ns != source.mtime_ns:
            raise self._changed("the file was written to since it was indexed")

    def _check_member(self) -> None:
        name, size = self._source.member, self._source.num_bytes
        try:
            header = parse_header(self.pread(BLOCK, -BLOCK) if self._source.offset >= BLOCK else bytes(BLOCK))
        except ValueError as error:
            raise self._changed(f"{error}, before byte {self._source.offset}") from error
        stated = header.name.decode(errors="replace").removeprefix("./")
        short = len(name) <= 100 and name.isascii()  # longer ones have a header of their own
        if not header.regular or (size < LARGE and header.num_bytes != size) or (short and stated != name):
            why = f"{header.num_bytes} bytes of {stated!r} begin at byte {self._source.offset}"
            raise self._changed(f"{why}, expected {size} bytes of {name!r}")

    def _changed(self, why: str) -> SourceError:
        return SourceError(self._source, "changed", why, _REBUILD)

    def pread(self, n: int, offset: int) -> bytes:
        """See ``Range.pread``."""
        wanted = min(n, self.size - offset)
        parts, start = [], self._source.offset + offset
        while wanted > 0:
            try:
                parts.append(self._read(wanted, start))
            except OSError as error:
                raise _failure(self._source, error) from error
            if not parts[-1]:
                raise self._changed(f"the file ends at byte {start}: it was cut off after it was opened")
            wanted, start = wanted - len(parts[-1]), start + len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read(self, n: int, start: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file, n, start)
        with _MOVING:
            os.lseek(self._file, start, os.SEEK_SET)
            return os.read(self._file, n)

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def __del__(self) -> None:
        self.close()


def _open(path: str) -> int:
    """Open a file whose path may be a link, but not one that has just been put there."""
    try:
        return os.open(path, _FLAGS)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    return os.open(os.path.realpath(path), _FLAGS)


def _failure(place: Source | str, error: OSError) -> SourceError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceError(place, "not_found", "there is no such file", "Check the path, or rebuild the manifest")
    if isinstance(error, PermissionError):
        return SourceError(place, "denied", "it may not be read", "Check its permissions")
    return SourceError(place, "unreadable", f"it can't be read: {error}", "Check the disk or the network")


class Window:
    """A range as a binary file. It has no attribute ``mode``, by which PyAV would choose how to open it.

    After a failed read every read fails in the same way, so that nothing is read past a gap.

    Attributes:
        failure: the exception of the failed read, or None.
    """

    def __init__(self, range: Range, name: str = "") -> None:
        self._range, self._name, self._place = range, name, 0
        self.failure: BaseException | None = None

    def read(self, n: int = -1) -> bytes:
        """Read at most ``n`` bytes, or up to the end: fewer than asked for only there, and none after it.

        Raises:
            SourceError: if they can't be had, or the range gives another number of bytes (``short``).
        """
        if self.failure is not None:
            raise self.failure
        left = max(0, self._range.size - self._place)
        wanted = left if n < 0 else min(n, left)
        try:
            data = self._range.pread(wanted, self._place) if wanted else b""
            if len(data) != wanted:
                why = f"{len(data)} bytes came where {wanted} were asked for at byte {self._place}"
                raise SourceError(self._name, "short", why, "Try again later")
        except BaseException as error:
            self.failure = error
            raise
        self._place += wanted
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, which may lie after the end; see ``io.IOBase.seek``.

        Raises:
            ValueError: if the place lies before the start.
        """
        place = offset + (0, self._place, self._range.size)[whence]
        if place < 0:
            raise ValueError(f"can't seek to byte {place}")
        self._place = place
        return place

    def tell(self) -> int:
        """Return the place of the next byte to be read."""
        return self._place

    def close(self) -> None:
        """Close the range."""
        self._range.close()

    def check(self) -> None:
        """Raise what made a read fail, if one did: FFmpeg and Pillow may have taken it for the end of the file."""
        if self.failure is not None:
            raise self.failure


@contextmanager
def reading(place: Path | Source) -> Iterator[Any]:
    """Open a file or a source for reading in a ``with`` block; at its end, raise what made a read fail."""
    if not isinstance(place, Source):
        with open(place, "rb") as file:
            yield file
        return
    window = Window(open_range(place), str(place))
    try:
        yield window
    except Exception:
        window.check()
        raise
    finally:
        window.close()
    window.check()
