"""Records of tables as people write them: CSV, TSV, JSON, JSON Lines and Parquet, in the encodings they come in."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avssl.catalog.rows import Settings
from avssl.catalog.texts import json_items, text_lines

Record = Mapping[str, Any]


def records(path: Path, settings: Settings, columns: frozenset[str] | None = None) -> Iterator[tuple[int, Record]]:
    """Yield the records of a table, each with its line (its number in JSON and Parquet, from 1).

    Args:
        path: the table; its suffix says what it is, other suffixes than those of JSON and Parquet mean text.
        settings: encoding, delimiter and header of a text.
        columns: the columns wanted of a Parquet file; None for all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read; the message has the line.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path, columns)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path, settings)
    elif suffix == ".json":
        yield from _json_records(path, settings)
    else:
        yield from table(path, settings)


def table(path: Path, settings: Settings) -> Iterator[tuple[int, Record]]:
    """Yield the rows of a delimited text by the names in its header."""
    rows = Rows(path, settings)
    header = rows.header()
    for line, fields in rows:
        yield line, dict(zip(header, _fitted(path, line, fields, len(header)), strict=True))


def columns_of(path: Path, settings: Settings) -> list[str] | None:
    """Return the names of a table's columns; None for JSON, whose records may differ."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path).schema_arrow.names
    return None if suffix in (".json", ".jsonl", ".ndjson") else Rows(path, settings).header()


class Rows:
    """Rows of a delimited text, as (line, fields without blanks around them); comments and empty lines are left out.

    A comment is a line that begins with ``#``; its header may be one.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        numbered = enumerate(text_lines(path, settings.encoding), start=1)
        head: list[tuple[int, str]] = []
        for line, text in numbered:
            head.append((line, text))
            if text.strip() and not text.startswith("#"):
                break
        comments = [text for _, text in head if text.startswith("#")]
        self._comment = comments[-1].lstrip("#") if comments else ""
        first = head[-1][1] if head and not head[-1][1].startswith("#") else self._comment
        self._dialect: dict[str, Any] = {"skipinitialspace": True, "strict": True}
        self._dialect["delimiter"] = settings.delimiter or _delimiter(path, first)
        self._fresh, self._line, self._comments = True, 0, 0
        self._reader = csv.reader(self._uncommented(chain(head, numbered)), **self._dialect)
        self._again: tuple[int, list[str]] | None = None

    def _uncommented(self, numbered: Iterable[tuple[int, str]]) -> Iterator[str]:
        """Yield lines for the CSV reader; where a field is open across lines, all of them."""
        for line, text in numbered:
            if self._fresh:
                if not text.strip():
                    continue
                if text.startswith("#"):
                    self._comments += self._line > 0
                    continue
                self._line, self._fresh = line, False
            yield text

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while (row := self._next()) is not None:
            yield row
        if self._comments:
            self._settings.told.append(
                f"{self._path}: {self._comments} lines after the first begin with # and are taken for comments"
            )

    def _next(self) -> tuple[int, list[str]] | None:
        if self._again is not None:
            row, self._again = self._again, None
            return row
        self._fresh = True
        try:
            fields = next(self._reader, None)
        except csv.Error as error:
            why = "a quote is not closed" if "end of data" in str(error) else str(error)
            raise ValueError(
                f"{self._path}, line {self._line}: {why}. Close the quotes that the line opens, and write a quote "
                'within quotes as ""'
            ) from error
        return None if fields is None else (self._line, [field.strip() for field in fields])

    def header(self) -> list[str]:
        """Read the names of the columns: the first row, or the comment before it if that has the columns declared.

        Raises:
            ValueError: if two columns have one name.
        """
        wanted = set(self._settings.columns.values())
        commented = [
            name.strip() for name in next(csv.reader([self._comment], **{**self._dialect, "strict": False}), [])
        ]
        if wanted and wanted <= set(commented):
            return commented
        line, first = self._next() or (1, [])
        if not self._settings.header:
            self._again = (line, first) if first else None
            return [str(number) for number in range(1, len(first) + 1)]
        repeated = [name for name in first if name and first.count(name) > 1]
        if repeated:
            raise ValueError(f"{self._path}, line {line}: two columns are called {repeated[0]!r}")
        return first


def _fitted(path: Path, line: int, fields: list[str], width: int) -> list[str]:
    """Return as many fields as there are columns; empty ones behind are dropped."""
    if len(fields) > width and not any(fields[width:]):
        fields = fields[:width]
    if len(fields) != width:
        raise ValueError(
            f"{path}, line {line}: {len(fields)} fields, but there are {width} columns: {fields}. "
            "Put a field that holds the delimiter in double quotes"
        )
    return fields


def _delimiter(path: Path, first: str) -> str:
    """Return what stands most often in the first row: comma, tab or semicolon."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    unquoted = "".join(first.split('"')[::2])
    return max(",\t;", key=unquoted.count)


def _open_parquet(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list")
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a complete Parquet file ({error})") from error


def _parquet(path: Path, columns: frozenset[str] | None) -> Iterator[tuple[int, Record]]:
    """Yield records without columns that nobody wants: they may hold whole videos."""
    file = _open_parquet(path)
    there = file.schema_arrow.names
    chosen = there if columns is None else [name for name in there if name in columns]
    number = 0
    for batch in file.iter_batches(columns=chosen):
        for record in batch.to_pylist():
            number += 1
            yield number, record


def _json_lines(path: Path, settings: Settings) -> Iterator[tuple[int, Record]]:
    for line, text in enumerate(text_lines(path, settings.encoding), start=1):
        if text.strip():
            try:
                record = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {line}: not JSON: {error}") from error
            yield line, _object(path, line, record)


def _json_records(path: Path, settings: Settings) -> Iterator[tuple[int, Record]]:
    """Yield the objects of an array, of an object of objects (their keys become ``id``), or of JSON Lines."""
    first = next((text for text in text_lines(path, settings.encoding) if text.strip()), "")
    try:
        alone = json.loads(first)
    except json.JSONDecodeError:
        alone = None
    if isinstance(alone, dict) and not all(isinstance(value, dict) for value in alone.values()):
        yield from _json_lines(path, settings)
        return
    for number, key, value in json_items(path, settings.encoding):
        record = _object(path, number, value)
        yield number, record if key is None or "id" in record else {"id": key, **record}


def _object(path: Path, number: int, value: Any) -> Record:
    if not isinstance(value, dict):
        shown = json.dumps(value)[:60]
        raise ValueError(f"{path}, record {number}: expected an object with a field per column, got {shown}")
    return value
