"""Columns of a manifest, and conversion between its rows and recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from avssl.media.info import AudioInfo, MediaError, VideoInfo

SCHEMA = pa.schema(
    [
        ("root", pa.dictionary(pa.int32(), pa.string())),  # absolute, or relative to the manifest's folder
        ("path", pa.string()),  # relative to root
        ("status", pa.string()),  # "ok" or "rejected"
        ("reason", pa.string()),  # "code: why" of a rejected file
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("content", pa.string()),  # sha256 of the file
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
        ("label", pa.string()),  # class name
        ("group", pa.string()),
        ("view", pa.string()),
        ("motion", pa.large_binary()),  # float16, native byte order, 8 per second
        ("mirrored", pa.bool_()),  # null for False; absent from older manifests
    ]
)
# Fields of VideoInfo have columns of the same name and value, except these; fields of AudioInfo have columns "audio_*".
EXCEPT = {"path", "size", "audio", "label", "group", "view", "motion", "num_frames", "backends", "mirrored", "source"}
SAME = [field.name for field in fields(VideoInfo) if field.name not in EXCEPT]
OPTIONAL = {"mirrored"}
SOUND = [field.name for field in fields(AudioInfo)]
IDENTITY = ("path", "content", "label", "group", "view")  # covered by the fingerprint

ROWS_TOGETHER = 2048


def row_from_info(info: VideoInfo) -> dict[str, Any]:
    """Return the columns that describe the recording itself, not its place, identity or annotation."""
    row = {name: getattr(info, name) for name in SAME}
    row |= {f"audio_{name}": getattr(info.audio, name, None) for name in SOUND}
    row["height"], row["width"] = info.size
    row["motion"] = None if info.motion is None else info.motion.to(torch.float16).numpy().tobytes()
    if info.mirrored:
        row["mirrored"] = True
    return row | {"status": "ok", "frames": info.num_frames, "backends": list(info.backends)}


def info_from_row(row: Mapping[str, Any], root: Path, classes: Mapping[str, int]) -> VideoInfo:
    """Return the recording that a row describes.

    Args:
        row: all columns of ``SCHEMA``; the optional ones may be missing.
        root: folder that the row's path is relative to.
        classes: class number by class name.
    """
    sound = {name: row[f"audio_{name}"] for name in SOUND}
    motion = row["motion"]
    return VideoInfo(
        path=root / row["path"],
        size=(row["height"], row["width"]),
        audio=None if sound["rate"] is None else AudioInfo(**sound),
        label=None if row["label"] is None else classes[row["label"]],
        group=row["group"],
        view=row["view"],
        motion=None if motion is None else torch.from_numpy(np.frombuffer(motion, np.float16).astype(np.float32)),
        num_frames=row["frames"],
        backends=tuple(row["backends"]),
        mirrored=bool(row.get("mirrored")),
        **{name: row[name] for name in SAME},
    )


def completed(table: pa.Table) -> pa.Table:
    """Return a table with the optional columns that an older manifest lacks, as nulls."""
    for name in OPTIONAL.difference(table.column_names):
        table = table.append_column(SCHEMA.field(name), pa.nulls(len(table), SCHEMA.field(name).type))
    return table


def canonical(table: pa.Table, source: Path) -> pa.Table:
    """Return a table with the columns of SCHEMA, usable rows first, and classes and fingerprint in its metadata."""
    table = completed(table)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        why = f"not a manifest: columns {missing} are missing"
        raise MediaError(source, "manifest", why, "Make one with `avssl index`.")
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
    table = table.unify_dictionaries().combine_chunks()
    used = table.slice(0, usable)
    facts = {
        "usable": usable,
        "classes": sorted({*stored.get("classes", []), *pc.unique(used.column("label").drop_null()).to_pylist()}),
        "fingerprint": fingerprint([used.column(name) for name in IDENTITY]),
    }
    return table.replace_schema_metadata({b"avssl": json.dumps(facts).encode()})


def fingerprint(columns: Sequence[pa.Array]) -> str:
    """Hash the rows of some text columns in order, independent of their layout in memory."""
    texts = [column.cast(pa.large_string()) for column in columns]
    ends, separator = (pa.scalar(mark, pa.large_string()) for mark in "\x1e\x1f")
    joined = pc.binary_join_element_wise(*texts, ends, separator, null_handling="replace", null_replacement="\x00")
    digest = hashlib.sha256()
    for chunk in joined.chunks if isinstance(joined, pa.ChunkedArray) else [joined]:
        if len(chunk):
            start, stop = np.frombuffer(chunk.buffers()[1], np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
            digest.update(chunk.buffers()[2].slice(start, stop - start))
    return digest.hexdigest()


def write_arrow(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table for memory mapping: uncompressed Arrow IPC.

    All columns of a few thousand rows are stored together, so that reading one row touches little of the file.
    """
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=ROWS_TOGETHER)
