"""Find the media files of a collection."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from avssl.catalog.archives import contents_of
from avssl.catalog.parquet import contents_of as in_parquet
from avssl.catalog.parquet import media_column
from avssl.catalog.rows import Asked
from avssl.media import MediaError
from avssl.media.image import EXTENSIONS as IMAGES
from avssl.media.places import Place
from avssl.media.source import Source, SourceError, below

VIDEOS = frozenset({".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m4v", ".mkv", ".mod"})
VIDEOS |= {".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".qt", ".tod", ".ts", ".vob", ".webm"}
VIDEOS |= {".wmv"}
AMBIGUOUS = frozenset({".dat", ".gif"})  # videos, or a picture or any data
ARCHIVES = frozenset({".tar"})
TABLES = frozenset({".parquet"})  # which may hold recordings


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

    def place(self, root: Path | Place) -> Path | Source:
        """Return the file below a local folder, or where its bytes are.

        Raises:
            SourceError: ``key`` for an archive that a link leads out of the folder.
        """
        whole = self.member is None and _suffix(self) not in ARCHIVES | TABLES
        if isinstance(root, Path) and whole:
            return root / self.path
        return Source(
            path=below(root, self.path) if isinstance(root, Path) else self.path,
            store=self.store or "",
            member=self.member or "",
            offset=self.offset or 0,
            num_bytes=self.size_bytes if self.bytes is None else self.bytes,
            size_bytes=self.size_bytes,
            mtime_ns=None if self.member and _suffix(self) in ARCHIVES else self.mtime_ns,
            etag=self.etag or "",
        )


class Finding(NamedTuple):
    """The recordings of a collection, what archives say of each, and lines to tell the user."""

    files: list[Found]
    said: list[Asked | None]
    notes: list[str]


def find_media(root: Path) -> list[Found]:
    """Find the videos in a folder and its subfolders by suffix, sorted by path; if there are none, the images.

    GIF and ``.dat`` files count as videos beside others, or where there is nothing else. Hidden files and folders are
    skipped, and a disk's ``lost+found``; folders that may not be listed are named on standard error. Links are
    followed, but no folder is visited twice.

    Raises:
        MediaError: if there is no such folder (``missing``) or no media file in it (``empty``).
        OSError: if ``root`` may not be listed, or a folder can't be for another reason.
    """
    return _chosen([each for each in _local(root) if _suffix(each) not in ARCHIVES | TABLES], root)[0]


def find_recordings(root: Path | Place) -> Finding:
    """Find what `find_media` finds, also in a store; where there are no videos, the members of tar archives,
    and where there are no images either, the recordings in Parquet files.

    An archive of doubtful layout is among the files itself, to be rejected with its reason.

    Raises:
        MediaError: as `find_media`; ``no_list`` for a store that can't be listed.
        SourceError: if a store or an archive can't be read now.
    """
    found, name = (_local(root), root) if isinstance(root, Path) else (_stored(root), Path(str(root)))
    files, archives = _chosen(found, name)
    if not archives:
        left = [each.path for each in found if _suffix(each) in ARCHIVES]
        why = (
            f"{len(left)} tar archives lie beside other files and are left out, such as {left[:1]}: give them a folder"
        )
        return Finding(files, [None] * len(files), [why] if left else [])
    for suffixes in (VIDEOS, IMAGES):
        finding = Finding([], [], [])
        for archive in archives:
            source = archive.place(root)
            assert isinstance(source, Source)
            try:
                inside = (contents_of if _suffix(archive) in ARCHIVES else in_parquet)(source, suffixes)
            except SourceError:
                raise
            except MediaError as error:
                finding.notes.append(str(error))
                finding.files.append(archive)
                finding.said.append(None)
                continue
            finding.notes.extend(inside.notes)
            for packed in inside.recordings:
                where = archive._replace(member=packed.member, offset=packed.offset, bytes=packed.bytes)
                finding.files.append(where if packed.etag is None else where._replace(etag=packed.etag))
                finding.said.append(packed.asked)
        if any(file.member is not None for file in finding.files):
            break
    if not finding.files:
        raise _empty(name)
    return finding


def _chosen(found: Sequence[Found], root: Path) -> tuple[list[Found], list[Found]]:
    """Return the files to take or, where there are no videos, the archives."""
    videos = [each for each in found if _suffix(each) in VIDEOS | AMBIGUOUS]
    archives = [each for each in found if _suffix(each) in ARCHIVES]
    if any(_suffix(each) in VIDEOS for each in videos):
        return videos, []
    if archives:
        return [], archives
    files = [each for each in found if _suffix(each) in IMAGES]
    tables = [] if files else [each for each in found if _suffix(each) in TABLES]
    tables = [each for each in tables if media_column(root / each.path) is not None]
    if tables:
        return [], tables
    files = files or videos
    if not files:
        raise _empty(root)
    return files, []


def _empty(root: Path) -> MediaError:
    remedy = f"Looked for files with the suffixes {' '.join(sorted(VIDEOS | IMAGES | ARCHIVES))}."
    return MediaError(root, "empty", "no video and no image in this folder or its subfolders", remedy)


def _suffix(found: Found) -> str:
    return os.path.splitext(found.path)[1].lower()


def _stored(place: Place) -> list[Found]:
    objects = import_module("avssl.media.objects").find_objects(*place)
    found = (Found(each.key, each.size, None, place.store, etag=each.etag) for each in objects)
    return sorted(each for each in found if _suffix(each) in VIDEOS | AMBIGUOUS | IMAGES | ARCHIVES)


def _local(root: Path) -> list[Found]:
    if root.is_file():
        why = "this is a file, not a folder of videos"
        raise MediaError(root, "not_folder", why, f"If it lists videos: avssl index FOLDER --labels {root.name}")
    if not root.is_dir():
        raise MediaError(root, "missing", "no such folder", "Give a folder of videos or a manifest (.parquet, .arrow).")
    closed: list[str] = []
    suffixes = VIDEOS | AMBIGUOUS | IMAGES | ARCHIVES | TABLES
    found = sorted(_walk(root, "", suffixes, set(), closed), key=lambda each: each.path)
    if closed:
        named = ", ".join(closed[:3]) + (", ..." if len(closed) > 3 else "")
        print(f"{root}: {len(closed)} folders may not be read and are left out: {named}", file=sys.stderr)
    return found


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
