"""Manifests larger than memory: summed up, converted and written part by part."""

from __future__ import annotations

import json
import mmap
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avssl.catalog.compact import Batches
from avssl.catalog.table import ROWS_TOGETHER, SCHEMA, Facts
from avssl.runtime.files import growing

PLAIN = pa.schema([(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in SCHEMA])
CODED = [field.name for field in SCHEMA if pa.types.is_dictionary(field.type)]


def convert(path: Path, file: IO[bytes]) -> bool:
    """Write a Parquet manifest as Arrow IPC for memory mapping, in two passes; return False if it isn't in order."""
    source = pq.ParquetFile(path)
    if source.schema_arrow.names != SCHEMA.names:
        return False
    facts = Facts(json.loads((source.metadata.metadata or {}).get(b"avssl", b"{}")))
    values: dict[str, dict[str, None]] = {name: {} for name in CODED}
    for part in _parts(source):
        facts.add(part)
        for name in CODED:
            values[name].update(dict.fromkeys(part.column(name).drop_null().unique().to_pylist()))
    if not facts.ordered:
        return False
    dictionaries = {name: pa.array(list(each), pa.string()) for name, each in values.items()}
    schema = SCHEMA.with_metadata({b"avssl": facts.to_json()})
    with pa.ipc.new_file(file, schema) as writer:
        for part in _parts(source):
            for number, name in ((SCHEMA.names.index(name), name) for name in CODED):
                places = pc.index_in(part.column(name), dictionaries[name]).combine_chunks()
                coded = pa.DictionaryArray.from_arrays(places, dictionaries[name])
                part = part.set_column(number, SCHEMA.field(name), coded)
            writer.write_table(part.combine_chunks().cast(schema))
    return True


def _parts(source: pq.ParquetFile) -> Iterator[pa.Table]:
    for batch in source.iter_batches(ROWS_TOGETHER):
        yield pa.Table.from_batches([batch]).cast(PLAIN)


def coded(part: pa.Table) -> pa.Table:
    """Return a table of plain texts with the columns of ``SCHEMA``."""
    columns = [part.column(field.name) for field in SCHEMA]
    columns = [
        column.dictionary_encode() if field.name in CODED else column
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.table(columns, names=SCHEMA.names).cast(SCHEMA)


def write_parts(path: Path, parts: Iterable[pa.Table], **stored: Any) -> None:
    """Write a manifest atomically from tables with the columns of ``SCHEMA``, usable rows first, and further facts."""
    facts = Facts(stored)
    with growing(path) as unfinished, pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
        for part in parts:
            facts.add(part)
            writer.write_table(part.unify_dictionaries())
        writer.add_key_value_metadata({"avssl": facts.to_json().decode()})


def spill(parts: Iterable[pa.Table], folder: Path) -> Batches:
    """Return tables as rows of plain texts that lie in a nameless file in a folder, mapped into memory."""
    with tempfile.TemporaryFile(dir=folder) as file:
        with pa.ipc.new_file(pa.PythonFile(file, "w"), PLAIN) as writer:
            for part in parts:
                writer.write_table(part.cast(PLAIN), max_chunksize=ROWS_TOGETHER)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return Batches(pa.ipc.open_file(pa.py_buffer(mapped)).read_all().to_batches(), PLAIN, partial(release, mapped))


def release(mapped: mmap.mmap) -> None:
    """Keep no page of a mapped file in this process; they are read again when they are looked at."""
    if hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)
