"""Find the media files of a collection."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from avssl.media import MediaError
from avssl.media.image import EXTENSIONS as IMAGES

VIDEOS = frozenset({".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m4v", ".mkv", ".mod"})
VIDEOS |= {".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".qt", ".tod", ".ts", ".vob", ".webm"}
VIDEOS |= {".wmv"}
AMBIGUOUS = frozenset({".dat", ".gif"})  # videos, or a picture or any data


class Found(NamedTuple):
    """A recording: a file, or a part of one, or an object in a store; the columns of a manifest that say where it is.

    ``path`` is relative to the root, with forward slashes; the other fields are described in `avssl.catalog.table`.
    """

    path: str
    size_bytes: int
    mtime_ns: int | None = None
    store: str | None = None
    member: str | None = None
    offset: int | None = None
    bytes: int | None = None
    etag: str | None = None

    @property
    def key(self) -> str:
        """The path, with the member as if the archive were a folder."""
        return self.path if self.member is None else f"{self.path}/{self.member}"


def find_media(root: Path) -> list[Found]:
    """Find the videos in a folder and its subfolders by suffix, sorted by path; if there are none, the images.

    GIF and ``.dat`` files count as videos beside others, or where there is nothing else. Hidden files and folders are
    skipped, and a disk's ``lost+found``; folders that may not be listed are named on standard error. Links are
    followed, but no folder is visited twice.

    Raises:
        MediaError: if there is no such folder (``missing``) or no media file in it (``empty``).
        OSError: if ``root`` may not be listed, or a folder can't be for another reason.
    """
    if not root.is_dir():
        raise MediaError(root, "missing", "no such folder", "Give a folder of videos or a manifest (.parquet, .arrow).")
    closed: list[str] = []
    videos = sorted(_walk(root, "", VIDEOS | AMBIGUOUS, set(), closed))
    if closed:
        named = ", ".join(closed[:3]) + (", ..." if len(closed) > 3 else "")
        print(f"{root}: {len(closed)} folders may not be read and are left out: {named}", file=sys.stderr)
    if all(os.path.splitext(video.path)[1].lower() in AMBIGUOUS for video in videos):
        videos = sorted(_walk(root, "", IMAGES, set(), closed)) or videos
    if videos:
        return videos
    remedy = f"Looked for files with the suffixes {' '.join(sorted(VIDEOS | IMAGES))}."
    raise MediaError(root, "empty", "no video and no image in this folder or its subfolders", remedy)


def _walk(
    folder: Path, prefix: str, suffixes: frozenset[str], seen: set[tuple[int, int]], closed: list[str]
) -> Iterator[Found]:
    facts = folder.stat()
    if (facts.st_dev, facts.st_ino) in seen:
        return
    seen.add((facts.st_dev, facts.st_ino))
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        if not prefix:
            raise
        closed.append(prefix)
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "lost+found":
            continue
        path = prefix + entry.name
        if entry.is_dir():
            yield from _walk(Path(entry.path), path + "/", suffixes, seen, closed)
        elif os.path.splitext(entry.name)[1].lower() in suffixes:
            here = entry.stat() if entry.is_file() else entry.stat(follow_symlinks=False)  # a broken link
            yield Found(path.encode(errors="backslashreplace").decode(), here.st_size, here.st_mtime_ns)
