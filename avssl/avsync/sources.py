"""Sources of a dataset: finding, naming and hashing the recordings, which are only read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avssl.avsync.reasons import Rejection
from avssl.avsync.store import Record, Store, key_of
from avssl.catalog.annotations import annotate
from avssl.catalog.finding import find_media
from avssl.catalog.manifest import Manifest
from avssl.runtime.files import digest_of


@dataclass(frozen=True)
class Source:
    """A file that may become clips."""

    path: Path
    name: str  # name of its collection, and its path in there
    label: str | None = None  # name of its class
    group: str = ""  # must not be divided between training and test; the source's name unless given


def scan(roots: Sequence[Path], labels: str = "auto", group: str | None = None) -> list[Source]:
    """Find the sources below some folders, in the order given and by path within each.

    Args:
        roots: folders, single files, or manifests (``.parquet``), whose labels and groups are used.
        labels: where the classes of a folder's files come from, see :func:`avssl.catalog.annotations.annotate`.
        group: regular expression that finds the group in the relative path.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        MediaError: for a folder without media files.
        ValueError: if annotations don't fit the files, or two roots are the same.
    """
    roots = [Path(os.path.abspath(root)) for root in roots]
    if len({root.resolve() for root in roots}) < len(roots):
        raise ValueError(f"sources: the same folder is given twice among {[os.fspath(root) for root in roots]}")
    unique = len({root.name for root in roots}) == len(roots)
    found = []
    for root in roots:
        if not root.exists():
            raise FileNotFoundError(f"{root}: no such folder, file or manifest")
        name = root.name if unique else os.fspath(root)
        if root.suffix == ".parquet":
            found += _of_manifest(root, name)
            continue
        folder = root if root.is_dir() else root.parent
        paths = [file.path for file in find_media(root)] if root.is_dir() else [root.name]
        annotated, prefix = annotate(folder, paths, labels, group), f"{name}/" if root.is_dir() else ""
        for path, rows in zip(paths, annotated.asked, strict=True):
            if len(rows) != 1 or rows[0].start is not None:
                raise ValueError(f"{labels} asks for segments of {path}: a sync dataset is made of whole files")
            label = rows[0].labels[0] if rows[0].labels and len(rows[0].labels) == 1 else None
            found.append(Source(folder / path, prefix + path, label, rows[0].group or prefix + path))
    return found


def _of_manifest(path: Path, name: str) -> list[Source]:
    manifest = Manifest.open(path)
    columns = [manifest.column(column, rejected=True).to_pylist() for column in ("root", "path", "label", "group")]
    return [
        Source(path.parent / root / file, f"{name}/{file}", label, group or f"{name}/{file}")
        for root, file, label, group in zip(*columns, strict=True)
    ]


def check_apart(roots: Sequence[Path], sources: Sequence[Source], out: Path) -> None:
    """Raise a ValueError if the dataset would lie in a folder of sources, or hold some."""
    out = out.resolve()
    inside = [root for root in roots if root.is_dir() and out.is_relative_to(root.resolve())]
    held = [source.path for source in sources if source.path.resolve().is_relative_to(out)]
    if inside or held:
        place = f"lies in {inside[0]}, where sources are" if inside else f"holds sources, such as {held[0]}"
        raise ValueError(f"{out} {place}: choose a folder elsewhere")


def identify(job: tuple[Path, Path, bool]) -> Record:
    """Return the ``content`` (SHA-256) of a source, or a rejection.

    A file of known path, size and modification time is not hashed again. The job is the source, the store's folder, and
    whether to retry what failed.

    Raises:
        OSError: if the store can't be written.
    """
    path, folder, retry = job
    store = Store(folder, retry)
    try:
        facts = path.stat()
        if not path.is_file():
            return Rejection("not_media", "this is not a regular file")._asdict()
        key = key_of(os.fspath(path), facts.st_size, facts.st_mtime_ns)
        known = store.find("content", key)
        record = known or {"content": digest_of(path)}
    except FileNotFoundError:
        return Rejection("unreadable", "a broken link, or a file name that isn't UTF-8 (rename it)")._asdict()
    except OSError as error:
        return Rejection("unreadable", f"{error.strerror or error}")._asdict()
    if known is None:
        store.write("content", key, record)  # outside the try: a failure here is not the source's
    return record
