"""Where the bytes of a recording are, if they are not a whole local file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from avssl.media.errors import MediaError


@dataclass(frozen=True)
class Source:
    """A byte range of a local file, or an object in a store, or a range of one.

    Attributes:
        path: absolute path of the file, or key of the object.
        store: name of a configured store; empty for a local file.
        member: name within a tar archive or a Parquet file; empty if the range is not a member. Never used as a path.
        offset: first byte of the recording.
        num_bytes: length of the recording.
        size_bytes: size of the whole file or object; another size means that it has changed.
        mtime_ns: modification time of a local file; None if it isn't known. A tar may be copied, which changes it: its
            member's header is checked instead.
        etag: version of an object; for a recording that lies compressed in a local file, its SHA-256 after
            ``unpacked:``: it is read from a copy in the user's cache, see `avssl.media.window.copy_of`. Else empty.
    """

    path: str
    store: str = ""
    member: str = ""
    offset: int = 0
    num_bytes: int = 0
    size_bytes: int = 0
    mtime_ns: int | None = None
    etag: str = ""

    @property
    def in_tar(self) -> bool:
        """Whether it is a member of a local tar archive."""
        return bool(self.member) and not self.store and self.path.lower().endswith(".tar")

    def __str__(self) -> str:
        place = f"{self.store}:{self.path}" if self.store else self.path
        return f"{place}/{self.member}" if self.member else place


class SourceError(MediaError):
    """Bytes that can't be had now, though the recording may be good: the work stops and can be resumed.

    Codes: ``store_unknown``, ``key``, ``denied``, ``not_found``, ``changed``, ``throttled``, ``timeout``, ``short``,
    ``offline``, ``no_range``, ``redirect``, ``fragmented``, ``outside``; for local files also ``not_file`` and
    ``unreadable``. No other recording takes the place of such a one: an item would depend on the network.
    """

    stops = True  # see `avssl.runtime.workers.Failure`


def names_inside(name: str) -> bool:
    """Return True if a name with forward slashes can only mean something below the folder that it starts from."""
    return not {"", ".", ".."} & set(name.split("/"))


def below(root: Path, name: str) -> str:
    """Return the path of a file in a folder.

    Raises:
        SourceError: ``key`` if the name, or a link on its way, leads out of the folder.
    """
    path = os.path.join(root, name)
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(root)):
        why = f"it lies outside of {root}, at {real}: parts of files are read from below their root only"
        raise SourceError(path, "key", why, f"Index {real.parent}, or copy the file")
    return path
