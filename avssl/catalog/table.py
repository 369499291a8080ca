"""Columns of a manifest, and conversion between its rows and recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from avssl.media.errors import MediaError
from avssl.media.info import AudioInfo, VideoInfo
from avssl.media.places import check_key
from avssl.media.source import Source, SourceError, below, names_inside

SCHEMA = pa.schema(
    [
        ("root", pa.dictionary(pa.int32(), pa.string())),  # absolute, or relative to the manifest's folder
        ("path", pa.string()),  # relative to root, or the key of an object; of the tar, for a member
        ("status", pa.string()),  # "ok" or "rejected"
        ("reason", pa.string()),  # "code: why" of a rejected file
        ("size_bytes", pa.int64()),  # of the whole file or object
        ("mtime_ns", pa.int64()),
        ("content", pa.string()),  # sha256 of the recording's bytes; with a prefix, a weaker mark of them
        ("reader", pa.string()),  # version of the code that measured it
        ("duration", pa.float64()),
        ("fps", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("frames", pa.int64()),
        ("vfr", pa.bool_()),
        ("codec", pa.string()),
        ("container", pa.string()),
        ("rotation", pa.int16()),
        ("origin", pa.float64()),
        ("seekable", pa.bool_()),
        ("backends", pa.list_(pa.string())),
        ("sync_grade", pa.string()),
        ("audio_rate", pa.int32()),  # null if there is no sound
        ("audio_channels", pa.int32()),
        ("audio_start", pa.float64()),
        ("audio_duration", pa.float64()),
        ("audio_codec", pa.string()),
        ("audio_silent", pa.bool_()),
        ("labels", pa.list_(pa.string())),  # sorted class names; empty: none shown, null: not annotated
        ("group", pa.string()),
        ("view", pa.string()),
        ("motion", pa.large_binary()),  # float16, native byte order, 8 per second
        # Null, or absent from older manifests, where the ordinary holds:
        ("mirrored", pa.bool_()),  # false
        ("store", pa.dictionary(pa.int32(), pa.string())),  # local
        ("member", pa.string()),  # name in the tar or Parquet file at ``path``: not a member
        ("offset", pa.int64()),  # first byte of the recording, and the number of its bytes: the whole file
        ("bytes", pa.int64()),
        ("etag", pa.string()),  # version of an object; mark of what lies compressed in a local file
        ("start", pa.float64()),  # seconds from the file's first shown frame to the row's: 0
        ("asked", pa.list_(pa.float64())),  # start and stop of the segment as annotated: the whole recording
        ("name", pa.string()),  # the annotation's own
    ]
)
OPTIONAL = SCHEMA.names[SCHEMA.names.index("mirrored") :]
# Fields of VideoInfo have columns of the same name and value, except these; fields of AudioInfo have columns "audio_*".
EXCEPT = {"path", "size", "audio", "label", "labels", "group", "view", "motion", "num_frames", "backends", "mirrored"}
EXCEPT |= {"start", "name", "source"}
SAME = [field.name for field in fields(VideoInfo) if field.name not in EXCEPT]
SOUND = [field.name for field in fields(AudioInfo)]
IDENTITY = (
    "path",
    "content",
    "label",
    "group",
    "view",
)  # covered by the fingerprint, with what follows where it is set
FURTHER = ("store", "member", "offset", "start", "duration", "labels")

ROWS_TOGETHER = 65_536


def row_from_info(info: VideoInfo) -> dict[str, Any]:
    """Return the columns that describe the recording itself, not its place, identity or annotation."""
    row = {name: getattr(info, name) for name in SAME}
    row |= {f"audio_{name}": getattr(info.audio, name, None) for name in SOUND}
    row["height"], row["width"] = info.size
    row["motion"] = None if info.motion is None else info.motion.to(torch.float16).numpy().tobytes()
    if info.mirrored:
        row["mirrored"] = True
    if info.start:
        row["start"] = info.start
    return row | {"status": "ok", "frames": info.num_frames, "backends": list(info.backends)}


def info_from_row(row: Mapping[str, Any], root: Path, classes: Mapping[str, int]) -> VideoInfo:
    """Return the recording that a row describes.

    Args:
        row: all columns of ``SCHEMA``; the optional ones may be missing.
        root: folder that the row's path is relative to.
        classes: class number by class name.

    Raises:
        SourceError: see `source_of`.
    """
    sound = {name: row[f"audio_{name}"] for name in SOUND}
    motion, source = row["motion"], source_of(row, root)
    shown = row.get("labels")
    labels = None if shown is None else tuple(sorted(classes[name] for name in shown))
    return VideoInfo(
        path=path_of(row, root),
        size=(row["height"], row["width"]),
        audio=None if sound["rate"] is None else AudioInfo(**sound),
        label=labels[0] if labels is not None and len(labels) == 1 else None,
        labels=labels,
        group=row["group"],
        view=row["view"],
        motion=None if motion is None else torch.from_numpy(np.frombuffer(motion, np.float16).astype(np.float32)),
        num_frames=row["frames"],
        backends=tuple(row["backends"]),
        mirrored=bool(row.get("mirrored")),
        start=row.get("start") or 0.0,
        name=row.get("name"),
        source=source,
        **{name: row[name] for name in SAME},
    )


def path_of(row: Mapping[str, Any], root: Path) -> Path:
    """Return a row's path as `VideoInfo.path` has it."""
    store, member = row.get("store"), row.get("member")
    place = Path(f"{store}:{row['path']}") if store else root / row["path"]
    return place / member if member else place


def source_of(row: Mapping[str, Any], root: Path) -> Source | None:
    """Return where a row's bytes are; None for a whole local file.

    A manifest may come from anyone: of what a row says, nothing but a part of the file that it names is ever read.

    Raises:
        SourceError: ``key`` if a name could lead out of the root, ``outside`` if the bytes aren't the file's.
    """
    store, member, length = row.get("store"), row.get("member") or "", row.get("bytes")
    if not (store or member) and length is None:
        return None
    if member and not names_inside(member):
        why = f"{member!a} is no name of a member: it is absolute, or has an empty part, '.' or '..'"
        raise SourceError(f"{store or root}:{row['path']}", "key", why, "Index the collection again")
    path = check_key(store, row["path"]) if store else below(root, row["path"])
    offset, size = row.get("offset") or 0, row["size_bytes"]
    if (length is not None or member or offset) and not 0 <= offset < offset + (length or 0) <= (size or 0):
        why = f"its row names {length} bytes from byte {offset} of {size}"
        raise SourceError(path_of(row, root), "outside", why, "Index the collection again")
    return Source(
        path=path,
        store=store or "",
        member=member,
        offset=offset,
        num_bytes=size if length is None else length,
        size_bytes=size,
        mtime_ns=None if member and row["path"].lower().endswith(".tar") else row.get("mtime_ns"),
        etag=row.get("etag") or "",
    )


def keys_of(table: pa.Table) -> pa.Array:
    """Return each row's path, ``[N]``, with its member as if the archive were a folder."""
    path, member = (table.column(name).cast(pa.large_string()) for name in ("path", "member"))
    inside = pc.binary_join_element_wise(path, member, pa.scalar("/", pa.large_string()))
    keys = pc.if_else(member.is_valid(), inside, path)
    return pa.chunked_array(keys.chunks, pa.large_string()).combine_chunks()


def normalised(table: pa.Table) -> pa.Table:
    """Return an older manifest's table in the present form: a class became a list of them, and columns were added."""
    if "label" in table.column_names and "labels" not in table.column_names:
        label = table.column("label").combine_chunks().cast(pa.string())
        lengths = pc.if_else(label.is_valid(), 1, 0).cast(pa.int32())
        ends = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))])
        starts = pa.array(ends, pa.int32(), mask=np.append(label.is_null().to_numpy(zero_copy_only=False), False))
        labels = pa.ListArray.from_arrays(starts, label.drop_null())
        table = table.set_column(table.column_names.index("label"), "labels", labels)
    for name in OPTIONAL:
        if name not in table.column_names:
            table = table.append_column(SCHEMA.field(name), pa.nulls(len(table), SCHEMA.field(name).type))
    return table


def only_label(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each row's class name if it has exactly one, else null: ``[N]`` of the lists' value type."""
    chunks = []
    for chunk in labels.chunks:
        one = pc.fill_null(pc.equal(pc.list_value_length(chunk), 1), False)
        places = pc.if_else(one, chunk.offsets[:-1], None)
        chunks.append(chunk.values.take(places))
    return pa.chunked_array(chunks, type=pa.string())


def tables_of(rows: Iterable[Mapping[str, Any]], together_at_most: int = ROWS_TOGETHER) -> Iterator[pa.Table]:
    """Convert rows to tables of at most so many rows; missing columns are null.

    ``label`` is short for a ``labels`` of at most one.

    Raises:
        ValueError: for an unknown column.
    """
    rows = iter(rows)
    while together := list(islice(rows, together_at_most)):
        unknown = {name for row in together for name in row} - {*SCHEMA.names, "label"}
        if unknown:
            raise ValueError(f"A manifest has no columns {sorted(unknown)}: it has {SCHEMA.names}")
        columns = {field.name: [row.get(field.name) for row in together] for field in SCHEMA}
        columns["labels"] = [[row["label"]] if row.get("label") else row.get("labels") for row in together]
        yield pa.table([pa.array(columns[field.name], type=field.type) for field in SCHEMA], schema=SCHEMA)


def canonical(table: pa.Table, source: Path) -> pa.Table:
    """Return a table with the columns of SCHEMA, usable rows first, and classes and fingerprint in its metadata."""
    table = normalised(table)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        why = f"not a manifest: columns {missing} are missing"
        raise MediaError(source, "manifest", why, "If it lists videos: `avssl index FOLDER -o OUT --labels THIS`.")
    stored = json.loads((table.schema.metadata or {}).get(b"avssl", b"{}"))
    columns = []
    for field in SCHEMA:
        column = table.column(field.name)
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
            column = column.cast(field.type.value_type).dictionary_encode()
        columns.append(column.cast(field.type))
    table = pa.table(columns, schema=SCHEMA)
    ok = pc.equal(table.column("status"), "ok")
    usable = pc.sum(ok).as_py() or 0
    if pc.sum(ok.slice(0, usable)).as_py() not in (usable, None):
        table = pa.concat_tables([table.filter(ok), table.filter(pc.invert(ok))])
    table = table.unify_dictionaries()
    facts = Facts(stored)
    for start in range(0, len(table), ROWS_TOGETHER):
        facts.add(table.slice(start, ROWS_TOGETHER))
    return table.replace_schema_metadata({b"avssl": facts.to_json()})


class Facts:
    """Sums up a manifest, part by part: number of usable rows, classes, fingerprint.

    Attributes:
        ordered: no usable row comes after a rejected one.
    """

    def __init__(self, stored: dict[str, Any] | None = None) -> None:
        self._stored = stored or {}
        self._classes, self._digest = set(self._stored.get("classes", ())), hashlib.sha256()
        self.usable, self.rows, self.ordered = 0, 0, True

    def add(self, part: pa.Table) -> None:
        """Take the next rows."""
        ok = pc.equal(part.column("status"), "ok")
        usable = pc.sum(ok).as_py() or 0
        first = pc.sum(ok.slice(0, usable)).as_py() or 0
        self.ordered &= first == usable and (not usable or self.usable == self.rows)
        used = part.slice(0, usable)
        for chunk in used.column("labels").chunks:
            self._classes.update(chunk.flatten().unique().to_pylist())
        hash_rows(self._digest, used)
        self.usable, self.rows = self.usable + usable, self.rows + len(part)

    def to_json(self) -> bytes:
        """Return what is stored with the table."""
        mine = {"usable": self.usable, "classes": sorted(self._classes), "fingerprint": self._digest.hexdigest()}
        return json.dumps({**self._stored, **mine}).encode()


def fingerprint(table: pa.Table) -> str:
    """Hash what the rows of a table are and how they are annotated, in order, independent of their layout in memory."""
    digest = hashlib.sha256()
    for start in range(0, len(table), ROWS_TOGETHER):
        hash_rows(digest, table.slice(start, ROWS_TOGETHER))
    return digest.hexdigest()


def hash_rows(digest: hashlib._Hash, part: pa.Table) -> None:
    """Add some rows to a fingerprint."""
    columns = [only_label(part.column("labels")) if name == "label" else part.column(name) for name in IDENTITY]
    texts = [pa.chunked_array(column).combine_chunks().cast(pa.large_string()) for column in map(_chunks, columns)]
    ends, separator = (pa.scalar(mark, pa.large_string()) for mark in "\x1e\x1f")
    joined = pc.binary_join_element_wise(*texts, ends, separator, null_handling="replace", null_replacement="\x00")
    joined = pc.binary_join_element_wise(joined, *_further(part), pa.scalar("", pa.large_string()))
    start, stop = np.frombuffer(joined.buffers()[1], np.int64)[[joined.offset, joined.offset + len(joined)]]
    digest.update(joined.buffers()[2].slice(start, stop - start))


def _chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks or [pa.nulls(0, column.type)]


def _further(part: pa.Table) -> list[pa.Array]:
    """Return texts to add to each row's: empty for a whole local file with at most one class."""
    texts = []
    lengths = pc.list_value_length(part.column("labels"))
    segment = part.column("asked").is_valid()
    for name in FURTHER:
        column = part.column(name)
        if name == "labels":
            column = pc.binary_join(column, "\x1d")
            keep = pc.fill_null(pc.not_equal(lengths, 1), False)
        else:
            keep = segment if name == "duration" else column.is_valid()
            if pa.types.is_float64(column.type):
                column = pa.chunked_array([pa.array(np.asarray(column).view(np.int64))], pa.int64())
        text = pc.binary_join_element_wise(
            pa.scalar(f"\x1d{name}", pa.large_string()),
            column.cast(pa.large_string()),
            pa.scalar("=", pa.large_string()),
        )
        texts.append(pc.if_else(pc.and_(keep, text.is_valid()), text, pa.scalar("", pa.large_string())))
    return [pa.chunked_array(_chunks(text)).combine_chunks() for text in texts]


def write_arrow(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table for memory mapping: uncompressed Arrow IPC, in batches of ``ROWS_TOGETHER``."""
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS_TOGETHER)
