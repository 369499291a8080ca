"""What is known of sources besides their classes: licence, speaker, language, transcript, address; as text."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avssl.avsync.store import Record

PATH = "path"  # column that says which source


def read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by its column ``path``, as text; empty values are left out.

    Args:
        path: CSV or TSV with a heading, JSON lines, or Parquet.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such table, lacks the column, or names a path twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of metadata")
    try:
        rows = _rows(path)
    except (pa.ArrowInvalid, ValueError, csv.Error, AttributeError) as error:
        raise ValueError(f"{path}: this can't be read as {path.suffix or 'CSV'} ({error})") from error
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 1):
        name = _text(row.get(PATH))
        if not name:
            raise ValueError(f"{path}, row {number}: no {PATH!r}; its columns are {sorted(map(str, row))}")
        if name in found:
            raise ValueError(f"{path}, row {number}: {name} is named twice")
        values = {str(key): _text(value) for key, value in row.items() if key != PATH}
        found[name] = {key: value for key, value in values.items() if value}
    return found


def _rows(path: Path) -> list[Record]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix in (".jsonl", ".ndjson"):
        return [dict(json.loads(line)) for line in text.splitlines() if line.strip()]
    return list(
        csv.DictReader(text.splitlines(keepends=True), dialect="excel-tab" if path.suffix == ".tsv" else "excel")
    )


def _text(value: object) -> str:
    if value is None or value != value:  # the latter a missing number
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def columns_of(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Return the column of each name in the metadata, in their order; one that is taken becomes ``source_NAME``."""
    return {name: f"source_{name}" if name in taken else name for name in sorted(set(names))}
