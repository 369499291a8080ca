"""The videos that a classifier is to label: folders, manifests and files, opened without their labels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import measure
from avssl.runtime.files import user_cache


class Video(NamedTuple):
    """A recording to label, or a segment of one.

    Attributes:
        path: the file, as the user knows it.
        start: first second of a segment; 0 for whole files.
        row: position among the usable ones; None for one that can't be read.
        reason: why not.
        content: what identifies its bytes; empty if that is not known.
        mark: tells whether it has changed since.
    """

    path: str
    start: float
    row: int | None
    reason: str
    content: str
    mark: str

    @property
    def name(self) -> str:
        """What it is called in the journal."""
        return f"{self.path}|{self.start}|{self.mark}"


@dataclass(frozen=True)
class Collection:
    """The videos to label: the usable ones in a manifest, and all, in the order asked for and then by path."""

    usable: Manifest
    videos: Sequence[Video]


def open_unlabelled(places: Sequence[str | Path]) -> Collection:
    """Open videos without their labels; nothing is written to their folders.

    Args:
        places: folders, manifests and files.

    Raises:
        FileNotFoundError: if there is no such place.
        MediaError: if there is no video in a folder.
    """
    parts: list[Manifest] = []
    videos: dict[str, Video] = {}
    for place in map(Path, places):
        if not place.exists():
            raise FileNotFoundError(f"{place}: no such file, folder or manifest")
        found, paths = _open(place)
        first = sum(map(len, parts))
        parts.append(found)
        for video in sorted(_videos(found, paths, first), key=lambda each: (each.path, each.start)):
            videos.setdefault(video.name, video)
    return Collection(Manifest.concat(parts), list(videos.values()))


def _videos(found: Manifest, paths: Sequence[str], first: int) -> Iterator[Video]:
    """Yield the rows of a manifest, the rejected ones last; ``first`` is the position of its first usable one."""
    names = ("start", "duration", "size_bytes", "mtime_ns", "content", "reason")
    columns = [found.column(name, rejected=True).to_pylist() for name in names]
    for number, (path, *row) in enumerate(zip(paths, *columns, strict=True)):
        start, duration, size, time, content, reason = row
        place, why = (first + number, "") if number < len(found) else (None, reason or "rejected")
        yield Video(path, start or 0.0, place, why, content or "", f"{size}|{time}|{content}|{duration}")


def _open(place: Path) -> tuple[Manifest, list[str]]:
    """Return a manifest, and the paths of its rows, the rejected ones last."""
    if place.is_dir():
        absolute = os.path.abspath(place)
        if (place / "videos.parquet").is_file():
            found = open_manifest(place)
        else:
            name = hashlib.sha256(os.fsencode(f"{absolute}, to label")).hexdigest()[:24]
            out = user_cache() / "index" / name / "videos.parquet"
            found = build_index(absolute, out, labels="none", motion=False, hashing="quick")
        every = [*found.paths(), *(each.path for each in found.rejected)]
        return found, [os.path.join(place, os.path.relpath(path, absolute)) for path in every]
    if place.suffix in (".parquet", ".arrow"):
        found = Manifest.open(place)
        return found, [*map(str, found.paths()), *(str(each.path) for each in found.rejected)]
    absolute_file, facts = Path(os.path.abspath(place)), place.stat()
    (row,) = measure(absolute_file, motion=False, hashing="quick")
    own = {"root": str(absolute_file.parent), "path": absolute_file.name, "size_bytes": facts.st_size}
    return Manifest.from_rows([{"status": "ok", **row, **own, "mtime_ns": facts.st_mtime_ns}]), [str(place)]
