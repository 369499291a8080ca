"""Find the media files of a collection."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from avssl.catalog.archives import contents_of
from avssl.catalog.asked import ASKED, AskedRows
from avssl.catalog.compact import Builder
from avssl.catalog.found import ARCHIVES, FOUND, TABLES, Files, Found, Said, suffix_of
from avssl.catalog.parquet import contents_of as in_parquet
from avssl.catalog.parquet import media_column
from avssl.media import MediaError
from avssl.media.files import sniff
from avssl.media.image import EXTENSIONS as IMAGES
from avssl.media.places import Place
from avssl.media.source import Source, SourceError

VIDEOS = frozenset({".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m4v", ".mkv", ".mod"})
VIDEOS |= {".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".qt", ".tod", ".ts", ".vob", ".webm"}
VIDEOS |= {".wmv"}
AMBIGUOUS = frozenset({".dat", ".gif"})  # videos, or a picture or any data
ALL = VIDEOS | AMBIGUOUS | IMAGES | ARCHIVES | TABLES
COUNTS = pa.schema([("count", pa.int64())])


class Finding(NamedTuple):
    """The recordings of a collection, what archives say of each (None without archives), and lines to tell the user."""

    files: Files
    said: Said | None
    notes: list[str]


def find_media(root: Path) -> Files:
    """Find the videos in a folder and its subfolders by suffix, sorted by path; if there are none, the images.

    GIF and ``.dat`` files count as videos beside others, or where there is nothing else. Hidden files and folders are
    skipped, and a disk's ``lost+found``; folders that may not be listed are named on standard error. Links are
    followed, but no folder is visited twice.

    Raises:
        MediaError: if there is no such folder (``missing``) or no media file in it (``empty``).
        OSError: if ``root`` may not be listed, or a folder can't be for another reason.
    """
    return _chosen(_local(root, VIDEOS | AMBIGUOUS | IMAGES), root)[0]


def find_recordings(root: Path | Place) -> Finding:
    """Find what `find_media` finds, also in a store; where there are no videos, the members of tar archives,
    and where there are no images either, the recordings in Parquet files.

    An archive of doubtful layout is among the files itself, to be rejected with its reason.

    Raises:
        MediaError: as `find_media`; ``no_list`` for a store that can't be listed.
        SourceError: if a store or an archive can't be read now.
    """
    unnamed: list[str] = []
    found, name = (_local(root, unnamed=unnamed), root) if isinstance(root, Path) else (_stored(root), Path(str(root)))
    files, archives = _chosen(found, name)
    left_out = _media_without_ending(Path(root), unnamed) if isinstance(root, Path) else []
    if not archives:
        left = found.with_suffix(ARCHIVES)
        why = f"{len(left)} tar archives lie beside other files and are left out"
        notes = [f"{why}, such as {[found[place].path for place in left[:1]]}: give them a folder"] if len(left) else []
        return Finding(files, None, notes + left_out)
    for suffixes in (VIDEOS, IMAGES):
        finding = _inside(archives, root, suffixes)
        if any(file.member is not None for file in finding.files):
            break
    if not finding.files:
        raise _empty(name)
    finding.notes.extend(left_out)
    return finding


def _media_without_ending(root: Path, unnamed: Sequence[str]) -> list[str]:
    """Return a line on files that look like recordings by their first bytes, and have no suffix to say so."""
    seen = []
    for path in unnamed:
        with contextlib.suppress(MediaError):
            sniff(root / path)
            seen.append(path)
    if not seen:
        return []
    why = f"{len(seen)} files without an ending look like recordings and are left out, such as {seen[0]}"
    return [f"{root}: {why}: give them one, such as .mp4"]


def _inside(archives: Files, root: Path | Place, suffixes: frozenset[str]) -> Finding:
    """Return the members of archives with some suffixes, and the archives that can't be listed."""
    members, said, counts, notes = Builder(FOUND), Builder(ASKED), Builder(COUNTS), []
    for archive in archives:
        source = archive.place(root)
        assert isinstance(source, Source)
        try:
            inside = (contents_of if suffix_of(archive.path) in ARCHIVES else in_parquet)(source, suffixes)
        except SourceError:
            raise
        except MediaError as error:
            notes.append(str(error))
            members.add(archive)
            counts.add((0,))
            continue
        notes.extend(inside.notes)
        for packed in inside.recordings:
            where = archive._replace(member=packed.member, offset=packed.offset, bytes=packed.bytes)
            members.add(where if packed.etag is None else where._replace(etag=packed.etag))
            said.add(packed.asked)
            counts.add((1,))
    rows = said.build()
    own = AskedRows(rows, np.arange(len(rows)), counts.build().column("count").to_numpy())
    return Finding(Files(members.build()), Said(own), notes)


def _chosen(found: Files, root: Path) -> tuple[Files, Files]:
    """Return the files to take or, where there are no videos, the archives."""
    videos = found.with_suffix(VIDEOS | AMBIGUOUS)
    archives = found.with_suffix(ARCHIVES)
    nothing = found.select(videos[:0])
    if len(found.with_suffix(VIDEOS)):
        return found.select(videos), nothing
    if len(archives):
        return nothing, found.select(archives)
    images = found.with_suffix(IMAGES)
    tables = [] if len(images) else found.with_suffix(TABLES).tolist()
    tables = [place for place in tables if media_column(root / found[place].path) is not None]
    if tables:
        return nothing, found.select(np.asarray(tables))
    files = images if len(images) else videos
    if not len(files):
        raise _empty(root)
    return found.select(files), nothing


def _empty(root: Path) -> MediaError:
    remedy = f"Looked for files with the suffixes {' '.join(sorted(VIDEOS | IMAGES | ARCHIVES))}."
    return MediaError(root, "empty", "no video and no image in this folder or its subfolders", remedy)


def _stored(place: Place) -> Files:
    objects = import_module("avssl.media.objects").find_objects(*place)
    suffixes = VIDEOS | AMBIGUOUS | IMAGES | ARCHIVES
    found = (Found(each.key, each.size, None, place.store, etag=each.etag) for each in objects)
    return Files.of(each for each in found if suffix_of(each.path) in suffixes).sorted()


def _local(root: Path, suffixes: frozenset[str] = ALL, unnamed: list[str] | None = None) -> Files:
    if root.is_file():
        why = "this is a file, not a folder of videos"
        raise MediaError(root, "not_folder", why, f"If it lists videos: avssl index FOLDER --labels {root.name}")
    if not root.is_dir():
        raise MediaError(root, "missing", "no such folder", "Give a folder of videos or a manifest (.parquet, .arrow).")
    closed: list[str] = []
    found = Files.of(_walk(root, "", suffixes, set(), closed, unnamed)).sorted()
    if closed:
        named = ", ".join(closed[:3]) + (", ..." if len(closed) > 3 else "")
        print(f"{root}: {len(closed)} folders may not be read and are left out: {named}", file=sys.stderr)
    return found


def _walk(
    folder: Path,
    prefix: str,
    suffixes: frozenset[str],
    seen: set[tuple[int, int]],
    closed: list[str],
    unnamed: list[str] | None = None,
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
        folder_of_its_own, file = _kind(entry)
        if folder_of_its_own:
            yield from _walk(Path(entry.path), path + "/", suffixes, seen, closed, unnamed)
        elif suffix_of(entry.name) in suffixes:
            here = entry.stat() if file else entry.stat(follow_symlinks=False)  # a broken link
            yield Found(path.encode(errors="backslashreplace").decode(), here.st_size, here.st_mtime_ns)
        elif unnamed is not None and "." not in entry.name and file:
            unnamed.append(path)


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Return whether an entry is a folder, and whether it is a file; a link that leads to itself is neither."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False, False
