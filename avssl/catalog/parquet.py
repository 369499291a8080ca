"""Recordings within Parquet files, as the Hugging Face library ``datasets`` keeps them: ``struct{bytes, path}``.

A recording that lies in one piece in the file is read there. Compressed ones are unpacked into the user's cache, once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avssl.catalog.archives import Contents, Packed, kept_contents
from avssl.catalog.rows import Asked, clean
from avssl.media import MediaError
from avssl.media.source import Source
from avssl.media.window import UNPACKED, copy_of
from avssl.runtime.files import disk_full, user_cache, write_atomically

FREE = 0.1  # part of the disk that unpacking leaves free
ROWS = 8  # read at a time: a recording may be long
KINDS = {b"\x1a\x45\xdf\xa3": ".mkv", b"RIFF": ".avi", b"WEBP": ".webp", b"\x89PNG": ".png", b"\xff\xd8": ".jpg"}


def media_column(path: Path) -> str | None:
    """Return the name of the column that holds recordings; None if there is none, or this isn't a Parquet file.

    Sound and pictures are kept in the same way: a column that is called a video comes first.
    """
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return None
    found = []
    for field in schema:
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= {child.name for child in field.type}:
            kind = field.type.field("bytes").type
            if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                found.append(str(field.name))
    return min(found, key=lambda name: "video" not in name.lower(), default=None)


def contents_of(file: Source, suffixes: frozenset[str]) -> Contents:
    """List the recordings in a local Parquet file, like `avssl.catalog.archives.contents_of` those in a tar.

    ``label`` is their class, by name where the file has the names. Rows with an address or a path alone are counted:
    nothing is fetched.

    Raises:
        DiskFull: if unpacking would leave less than ``FREE`` of the cache's disk.
        MediaError: ``parquet`` if it can't be read.
    """
    try:
        return kept_contents(file, suffixes, _read)
    except pa.ArrowException as error:
        raise MediaError(file.path, "parquet", f"it can't be read: {error}", "Fetch it again") from error


def _read(source: Source, suffixes: frozenset[str]) -> Contents:
    path = Path(source.path)
    column = media_column(path)
    assert column is not None
    file = pq.ParquetFile(path)
    labelled = "label" in file.schema_arrow.names
    names = _class_names(file.schema_arrow)
    found: list[Packed] = []
    passed: Counter[str] = Counter()
    used: set[str] = set()
    number = unpacked = 0
    _check_room(file, column)
    with open(path, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for group in range(file.num_row_groups):
            chunk = _Chunk(file, group, column, data)
            wanted = [column, "label"] if labelled else [column]
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    value = row[column] or {}
                    if not value.get("bytes"):
                        passed["rows without bytes (nothing is fetched)"] += 1
                        continue
                    member = _name(value, number, used)
                    if os.path.splitext(member)[1].lower() not in suffixes:
                        passed[f"{os.path.splitext(member)[1]} files"] += 1
                        continue
                    asked = Asked(labels=_labels(row.get("label"), names))
                    offset, mark = chunk.find(value["bytes"]), None
                    if offset is None:
                        unpacked += len(value["bytes"])
                        offset, mark = 0, _unpack(value["bytes"])
                    found.append(Packed(member, offset, len(value["bytes"]), asked, mark))
    notes = []
    if passed:
        notes.append(f"{path}: passed over {', '.join(f'{count} {what}' for what, count in sorted(passed.items()))}")
    if unpacked:
        where = user_cache() / "unpacked"
        notes.append(f"{path}: its recordings are compressed in it; {unpacked / 2**20:.0f} MiB are unpacked in {where}")
    return Contents(found, notes)


class _Chunk:
    """The bytes of one column in a row group, in which recordings may lie as they are."""

    def __init__(self, file: pq.ParquetFile, group: int, column: str, data: mmap.mmap) -> None:
        part = _column(file, group, column)
        self._plain = part.compression == "UNCOMPRESSED"
        self._data = data
        starts = [part.data_page_offset, part.dictionary_page_offset]
        self._start = min(start for start in starts if start)  # both count from the file's first byte
        self._stop = self._start + part.total_compressed_size
        self._next = self._start

    def find(self, value: bytes) -> int | None:
        """Return the first byte of a value in the file; None if it doesn't lie there in one piece."""
        if not self._plain:
            return None
        place = self._data.find(value, self._next, self._stop)
        if place < 0:  # a repeated value is stored once, before others
            place = self._data.find(value, self._start, self._stop)
        if place < 0:
            return None
        self._next = place + len(value)
        return place


def _column(file: pq.ParquetFile, group: int, column: str) -> pq.ColumnChunkMetaData:
    facts = file.metadata.row_group(group)
    parts = (facts.column(number) for number in range(facts.num_columns))
    return next(part for part in parts if part.path_in_schema == f"{column}.bytes")


def _check_room(file: pq.ParquetFile, column: str) -> None:
    """Raise an error if the disk has no room for the column's compressed chunks."""
    chunks = [_column(file, group, column) for group in range(file.num_row_groups)]
    needed = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.compression != "UNCOMPRESSED")
    if needed:
        folder = user_cache() / "unpacked"
        folder.mkdir(parents=True, exist_ok=True)
        disk = shutil.disk_usage(folder)
        if needed > disk.free - FREE * disk.total:
            raise disk_full(errno.ENOSPC, folder)


def _unpack(value: bytes) -> str:
    """Write a recording into the user's cache, named after its content, and return its mark."""
    mark = UNPACKED + hashlib.sha256(value).hexdigest()
    copy = copy_of(mark)
    if not copy.is_file():
        write_atomically(copy, lambda file: file.write(value))
    return mark


def _name(value: Mapping[str, Any], number: int, used: set[str]) -> str:
    """Return a name for a recording: the last part of its path, else its row's number; never used as a path."""
    name = re.split(r"[/\\]", clean(value.get("path") or ""))[-1]
    name = "".join(mark for mark in name if mark.isprintable())
    if not os.path.splitext(name)[1]:
        content = value["bytes"]
        kinds = (KINDS.get(mark) for mark in (content[8:12], content[:4], content[:2]))
        name = f"{name or f'{number:06d}'}{next(filter(None, kinds), '.mp4')}"
    if name in used:
        name = f"{number:06d}_{name}"
    used.add(name)
    return name


def _class_names(schema: pa.Schema) -> list[str] | None:
    """Return the names of the classes by number, if the schema has them as ``datasets`` writes them."""
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        names = facts["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _labels(value: Any, names: list[str] | None) -> tuple[str, ...] | None:
    """Return the classes of a row; None if it doesn't tell (``datasets`` writes -1 for that)."""
    values = value if isinstance(value, list) else [value]
    if value is None or value == -1 or any(not isinstance(each, int | str) for each in values):
        return None
    shown = (
        names[each] if names is not None and isinstance(each, int) and 0 <= each < len(names) else each
        for each in values
    )
    return tuple(sorted({clean(each) for each in shown}))
