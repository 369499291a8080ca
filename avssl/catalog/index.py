"""From a folder of media files to a manifest. Each file is measured in a process that may hang or crash."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av

from avssl.catalog.annotations import Annotation, annotate
from avssl.catalog.manifest import Manifest
from avssl.catalog.table import row_from_info
from avssl.media import MediaError, probe
from avssl.media.image import EXTENSIONS as IMAGES
from avssl.media.motion import scan
from avssl.runtime.files import Journal, digest_of, user_cache
from avssl.runtime.progress import Tally
from avssl.runtime.workers import Failure, run_parallel

VIDEOS = frozenset({".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".m2t", ".m2ts", ".m4v", ".mkv", ".mod"})
VIDEOS |= {".mov", ".mp4", ".mp4v", ".mpe", ".mpeg", ".mpg", ".mts", ".ogv", ".qt", ".tod", ".ts", ".vob", ".webm"}
VIDEOS |= {".wmv"}
AMBIGUOUS = frozenset({".dat", ".gif"})  # videos, or a picture or any data
READER = 3  # increment when measurements change
PREPARING = "prepare.journal"  # in a folder of training-ready copies
Row = dict[str, Any]


class Found(NamedTuple):
    """A media file: its path relative to the root, with forward slashes, its size and its modification time."""

    path: str
    size_bytes: int
    mtime_ns: int


def find_media(root: Path) -> list[Found]:
    """Find the videos in a folder and its subfolders by suffix, sorted by path; if there are none, the images.

    GIF and ``.dat`` files count as videos beside others, or where there is nothing else. Hidden files and folders are
    skipped. Links are followed, but no folder is visited twice.

    Raises:
        MediaError: if there is no such folder (``missing``) or no media file in it (``empty``).
        OSError: if a folder can't be listed.
    """
    if not root.is_dir():
        raise MediaError(root, "missing", "no such folder", "Give a folder of videos or a manifest (.parquet, .arrow).")
    videos = sorted(_walk(root, "", VIDEOS | AMBIGUOUS, set()))
    if all(os.path.splitext(video.path)[1].lower() in AMBIGUOUS for video in videos):
        videos = sorted(_walk(root, "", IMAGES, set())) or videos
    if videos:
        return videos
    remedy = f"Looked for files with the suffixes {' '.join(sorted(VIDEOS | IMAGES))}."
    raise MediaError(root, "empty", "no video and no image in this folder or its subfolders", remedy)


def _walk(folder: Path, prefix: str, suffixes: frozenset[str], seen: set[tuple[int, int]]) -> Iterator[Found]:
    facts = folder.stat()
    if (facts.st_dev, facts.st_ino) in seen:
        return
    seen.add((facts.st_dev, facts.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        path = prefix + entry.name
        if entry.is_dir():
            yield from _walk(Path(entry.path), path + "/", suffixes, seen)
        elif os.path.splitext(entry.name)[1].lower() in suffixes:
            here = entry.stat() if entry.is_file() else entry.stat(follow_symlinks=False)  # a broken link
            yield Found(path.encode(errors="backslashreplace").decode(), here.st_size, here.st_mtime_ns)


def measure_file(path: str, motion: bool) -> Row:
    """Return the columns of a file's row that depend on its content alone.

    With ``motion``, all frames are decoded, for the motion profile and to find where decoding fails.
    """
    try:
        content = digest_of(Path(path))
        info = probe(path)
        if motion:
            info = scan(Path(path), info)
        return {**row_from_info(info), "content": content}
    except MediaError as error:
        return rejection(f"{error.code}: {error.why}")
    except FileNotFoundError:
        return rejection("unreadable: a broken link, or a file name that isn't UTF-8 (rename it)")
    except OSError as error:
        return rejection(f"unreadable: {error.strerror or error}")


def rejection(reason: str) -> Row:
    """Return the columns of a file that can't be used."""
    return {"status": "rejected", "reason": reason}


def reader_version(motion: bool) -> str:
    """Identify the code that measures files; rows with another version are outdated."""
    return f"reader {READER}, av {av.__version__}, motion {'yes' if motion else 'no'}"


def build_index(
    root: str | Path,
    out: str | Path,
    labels: str = "auto",
    group: str | None = None,
    view: str | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
    motion: bool = True,
    retry: bool = False,
    measure: Callable[[str, bool], Row] = measure_file,
) -> Manifest:
    """Measure the videos in a folder, write their manifest and open it. Nothing is written to that folder.

    Rows of an earlier ``out`` are reused for files with the same size, modification time and reader version. New rows
    are also kept in a journal next to ``out`` until it is written, so a killed run resumes when it is run again. The
    result depends on the files alone, not on the number of workers or on interruptions.

    Args:
        root: the folder.
        out: Parquet file to write.
        labels: source of the classes, see :func:`avssl.catalog.annotations.annotate`.
        group: regular expression for the group in the relative path.
        view: regular expression for the view in the relative path.
        workers: number of processes; None for one per core.
        timeout: seconds after which a file is given up.
        motion: decode every file, for its motion profile and to find damage; otherwise only packets are read.
        retry: measure rejected files again even if they haven't changed.
        measure: function that measures one file, called with (path, motion) in another process.

    Raises:
        MediaError: if there is nothing to index.
        ValueError: if annotations don't fit the files.
    """
    root, out = Path(os.path.abspath(root)), Path(os.path.abspath(out))
    files = find_media(root)
    notes = annotate(root, [file.path for file in files], labels, group, view)
    reader = reader_version(motion)
    with Journal(out.with_name(out.name + ".journal")) as journal:
        old = Manifest.open(out) if out.exists() else None
        if old is not None and not retry and _is_current(old, root, files, notes, reader):
            journal.remove()
            return old
        known = {row["path"]: row for row in old.to_rows() if row["root"] == os.fspath(root)} if old else {}
        if retry:
            known = {path: row for path, row in known.items() if row["status"] == "ok"}
        done = map(thawed, journal.entries.values())
        known.update((row["path"], row) for row in done if row["root"] == os.fspath(root))
        current = {file.path for file in files if _made_from(known.get(file.path), file, reader)}
        todo = [file for file in files if file.path not in current]
        changed = sum(file.path in known for file in todo)
        gone = len(known.keys() - {file.path for file in files})
        if known:
            counts = f"{len(current)} unchanged, {changed} changed, {len(todo) - changed} new, {gone} gone"
            print(f"{root}: files {counts}", file=sys.stderr)
        jobs = [(measure, os.path.join(root, file.path), motion) for file in todo]
        with Tally(f"Indexing {root.name}", len(jobs)) as tally:
            for position, result in run_parallel(_measured, jobs, workers, timeout):
                file = todo[position]
                row = rejection(f"{result.code}: {result.why}") if isinstance(result, Failure) else result
                row |= {"root": os.fspath(root), **file._asdict(), "reader": reader}
                known[file.path] = row
                journal.append(file.path, frozen(row))
                tally.add(row["status"])
        rows = [{**known[file.path], **notes[file.path]._asdict()} for file in files]
        Manifest.from_rows(rows).write(out)
        journal.remove()
    return Manifest.open(out)


def _measured(job: tuple[Callable[[str, bool], Row], str, bool]) -> Row:
    function, path, motion = job
    return function(path, motion)


def _made_from(row: Row | None, file: Found, reader: str) -> bool:
    return row is not None and (row["size_bytes"], row["mtime_ns"], row["reader"]) == (*file[1:], reader)


def _is_current(old: Manifest, root: Path, files: Sequence[Found], notes: dict[str, Annotation], reader: str) -> bool:
    names = ("root", "reader", "path", "size_bytes", "mtime_ns", "label", "group", "view")
    expected = sorted((os.fspath(root), reader, *file, *(x or "" for x in notes[file.path])) for file in files)
    columns = [old.column(name, rejected=True).to_pylist() for name in names]
    return expected == sorted(tuple(x if x is not None else "" for x in row) for row in zip(*columns, strict=True))


def frozen(row: Row) -> Row:
    """Make a row serialisable as JSON."""
    motion = row.get("motion")
    return row if motion is None else {**row, "motion": base64.b64encode(motion).decode()}


def thawed(row: Row) -> Row:
    """Undo :func:`frozen`."""
    motion = row.get("motion")
    return row if motion is None else {**row, "motion": base64.b64decode(motion)}


def open_manifest(root: str | Path | Sequence[str | Path]) -> Manifest:
    """Open the manifest of a collection.

    Args:
        root: a manifest (``.parquet`` or ``.arrow``); a folder, which is indexed into the user's cache on first use and
            checked by size and modification time later, unless it has its own ``videos.parquet`` (written by
            ``avssl prepare``, for example); or a list of these, which are joined.

    Raises:
        FileNotFoundError: if there is no such manifest.
        MediaError: if there is no such folder, no video in it, or its ``videos.parquet`` lists other files.
    """
    if not isinstance(root, str | Path):
        return Manifest.concat([open_manifest(part) for part in root])
    root = Path(os.path.abspath(root))
    if root.suffix in (".parquet", ".arrow"):
        return Manifest.open(root)
    own = root / "videos.parquet"
    if own.is_file():
        manifest = Manifest.open(own)
        sizes = manifest.column("size_bytes").to_pylist()
        listed = zip(manifest.paths(), sizes, strict=True)
        stale = [path for path, size in listed if not path.is_file() or path.stat().st_size != size]
        if stale:
            why = f"{len(stale)} of its {len(sizes)} videos are gone or changed, such as {stale[0]}"
            remedy = "Run the command that made it again, or delete it to index the folder."
            raise MediaError(own, "stale", why, remedy)
        return manifest
    if (root / PREPARING).exists():
        raise MediaError(root, "unfinished", "not all copies are made", "Run `avssl prepare` again to resume.")
    out = user_cache() / "index" / hashlib.sha256(os.fsencode(root)).hexdigest()[:24] / "videos.parquet"
    return build_index(root, out)
