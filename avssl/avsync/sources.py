"""Sources of a dataset: finding, naming and hashing the recordings, which are only read."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from avssl.avsync.metadata import read_metadata
from avssl.avsync.reasons import Rejection
from avssl.avsync.store import Record, Store, key_of
from avssl.catalog.annotations import annotate
from avssl.catalog.asked import AskedRows
from avssl.catalog.finding import find_recordings
from avssl.catalog.index import merged
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import Span, mark_of
from avssl.catalog.rows import Asked
from avssl.catalog.table import keys_of, source_of
from avssl.media.places import Place, locate
from avssl.media.source import Source as Stretch
from avssl.media.source import SourceError
from avssl.runtime.files import digest_of

COLUMNS = ["root", "path", "size_bytes", "mtime_ns", "store", "member", "offset", "bytes", "etag", "asked"]
COLUMNS += ["label", "group"]  # of a manifest, that say where a source is and how it is annotated
SPEAKER = "speaker"  # metadata that must not be divided between splits
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Source:
    """A recording, or a segment of one, that may become clips."""

    place: Path | Stretch
    name: str  # name of its collection, and its path in there, with the seconds of a segment
    label: str | None = None  # name of its class
    group: str = ""  # must not be divided between training and test; the recording's name unless given
    span: Span = None  # seconds of a segment
    unit: str = ""  # decides the split: the group or, if none was given, the path within its collection
    key: str = ""  # path within its collection
    grouped: bool = False  # whether a group was given
    about: tuple[tuple[str, str], ...] = ()  # what a table of metadata says of it

    @property
    def local(self) -> Path | None:
        """The file that holds it; None if it is in a store."""
        if isinstance(self.place, Path):
            return self.place
        return None if self.place.store else Path(self.place.path)


def scan(
    roots: Sequence[Path], labels: str = "auto", group: str | None = None, metadata: Path | None = None
) -> list[Source]:
    """Find the sources below some folders, in the order given and by path within each.

    Args:
        roots: folders, also in stores, single files, or manifests (``.parquet``), whose labels and groups are used.
        labels: where the classes of a folder's files come from, see :func:`avssl.catalog.annotations.annotate`.
        group: regular expression that finds the group in the relative path.
        metadata: table about the sources, see :func:`avssl.avsync.metadata.read_metadata`.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        MediaError: for a folder without media files.
        SourceError: if a store or an archive can't be read now.
        ValueError: if annotations don't fit the files, or two roots are the same.
    """
    places = [locate(root) or Path(os.path.abspath(root)) for root in roots]
    if len({root.resolve() if isinstance(root, Path) else root for root in places}) < len(places):
        raise ValueError(f"sources: the same folder is given twice among {[str(root) for root in places]}")
    names = [_name(root) for root in places]
    unique = len(set(names)) == len(names)
    found = []
    for root, short in zip(places, names, strict=True):
        if isinstance(root, Path) and not root.exists():
            raise FileNotFoundError(f"{root}: no such folder, file or manifest")
        name = short if unique else str(root)
        if isinstance(root, Path) and root.suffix == ".parquet":
            found += _of_manifest(root, name)
        elif isinstance(root, Path) and not root.is_dir():
            asked = annotate(root.parent, [root.name], labels, group).asked
            found += _asked(root, "", root.name, asked[0])
        else:
            found += _of_folder(root, name, labels, group)
    if metadata is not None:
        found = _described(found, read_metadata(metadata))
    return _grouped(found)


def _name(root: Path | Place) -> str:
    return root.name if isinstance(root, Path) else PurePosixPath(root.prefix).name or root.store


def _of_folder(root: Path | Place, name: str, labels: str, group: str | None) -> list[Source]:
    files, said, notes = find_recordings(root)
    for note in notes:
        print(note, file=sys.stderr)
    asked = annotate(Path(str(root)), files.keys, labels, group).asked
    if labels == "auto" and said is not None:
        asked = AskedRows.of(merged(rows, own) for rows, own in zip(asked, said, strict=True))
    found = []
    for file, rows in zip(files, asked, strict=True):
        found += _asked(file.place(root), f"{name}/", file.key, rows)
    return found


def _asked(place: Path | Stretch, root: str, key: str, rows: Sequence[Asked]) -> list[Source]:
    """Return the sources that an annotation makes of a recording."""
    found = []
    for row in rows:
        span = None if row.start is None and row.stop is None else (row.start, row.stop)
        label = row.labels[0] if row.labels and len(row.labels) == 1 else None
        name = root + key
        group, unit = row.group or name, row.group or key
        found.append(Source(place, name + _seconds(span), label, group, span, unit, key, bool(row.group)))
    return found


def _of_manifest(path: Path, name: str) -> list[Source]:
    manifest = Manifest.open(path)
    keys = keys_of(manifest.table(rejected=True)).to_pylist()
    columns = [manifest.column(column, rejected=True).to_pylist() for column in COLUMNS]
    found = []
    for key, values in zip(keys, zip(*columns, strict=True), strict=True):
        row = dict(zip(COLUMNS, values, strict=True))
        root = path.parent / row["root"]
        span: Span = None if row["asked"] is None else (row["asked"][0], row["asked"][1])
        place = source_of(row, root) or root / row["path"]
        whole = f"{name}/{key}"
        group = row["group"]
        own = (group or whole, span, group or key, key, bool(group))
        found.append(Source(place, whole + _seconds(span), row["label"], *own))
    return found


def _seconds(span: Span) -> str:
    return "" if span is None else "@" + "-".join("" if second is None else f"{second:.10g}" for second in span)


def _described(sources: Sequence[Source], table: Mapping[str, Mapping[str, str]]) -> list[Source]:
    """Return sources with what a table says of them; a ``speaker`` is the group of sources that have no other.

    A path is that within the source's folder, or absolute.
    """
    left, found = set(table), []
    for source in sources:
        names = (source.key, os.fspath(source.local or ""))
        name = next((name for name in names if name in table), None)
        left.discard(name or "")
        about = tuple(sorted(table[name].items())) if name is not None else ()
        speaker = dict(about).get(SPEAKER)
        if speaker and not source.grouped:
            source = replace(source, group=speaker, unit=f"{SPEAKER} {speaker}")
        found.append(replace(source, about=about))
    if left:
        some = ", ".join(sorted(left)[:SHOWN])
        print(f"note: {len(left)} of {len(table)} rows of metadata name no source, such as {some}", file=sys.stderr)
    return found


def _grouped(sources: list[Source]) -> list[Source]:
    """Give all sources of a recording the same group if there are segments, and all that share a group with them."""
    if all(source.span is None for source in sources):
        return sources
    rows = (
        {"root": ".", "path": str(source.place), "status": "ok", "group": source.group, "asked": source.span}
        for source in sources
    )
    units = Manifest.from_rows(rows).units().to_pylist()
    unit_of = {source.group: source.unit for source in sources}
    return [replace(source, group=group, unit=unit_of[group]) for source, group in zip(sources, units, strict=True)]


def check_apart(roots: Sequence[Path], sources: Sequence[Source], out: Path) -> None:
    """Raise a ValueError if the dataset would lie in a folder of sources, or hold some."""
    out = out.resolve()
    inside = [root for root in roots if root.is_dir() and out.is_relative_to(root.resolve())]
    held = [file for source in sources if (file := source.local) is not None and _real(file).is_relative_to(out)]
    if inside or held:
        place = f"lies in {inside[0]}, where sources are" if inside else f"holds sources, such as {held[0]}"
        raise ValueError(f"{out} {place}: choose a folder elsewhere")


def _real(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself, which `identify` rejects
        return file


def identity_of(content: str, span: Span) -> str:
    """Return what stands for a source: the SHA-256 of its recording or, of a segment, a hash of it and the seconds."""
    return content if span is None else key_of("segment", content, *span)


def identify(job: tuple[Path | Stretch, Path, bool]) -> Record:
    """Return the ``content`` (SHA-256) of a recording, or a rejection.

    A file of known path, size and modification time is not hashed again, nor an object of known version. The job is the
    recording's place, the store's folder, and whether to retry what failed.

    Raises:
        OSError: if the store can't be written.
        SourceError: if the bytes can't be had now.
    """
    place, folder, retry = job
    store = Store(folder, retry)
    try:
        if isinstance(place, Path):
            facts = place.stat()
            if not place.is_file():
                return Rejection("not_media", "this is not a regular file")._asdict()
            key = key_of(os.fspath(place), facts.st_size, facts.st_mtime_ns)
        else:
            key = _key_of_stretch(place)
        known = store.find("content", key)
        record = known or {"content": digest_of(place) if isinstance(place, Path) else mark_of(place, "full")}
    except SourceError:
        raise
    except FileNotFoundError:
        return Rejection("unreadable", "a broken link, or a file name that isn't UTF-8 (rename it)")._asdict()
    except OSError as error:
        why = "a link that leads to itself" if error.errno == errno.ELOOP else f"{error.strerror or error}"
        return Rejection("unreadable", why)._asdict()
    if known is None:
        store.write("content", key, record)  # outside the try: a failure here is not the source's
    return record


def _key_of_stretch(place: Stretch) -> str:
    stretch = (str(place), place.offset, place.num_bytes)
    if place.store:
        return key_of(*stretch, place.size_bytes, place.etag)
    facts = os.stat(place.path)
    return key_of(*stretch, facts.st_size, facts.st_mtime_ns)
