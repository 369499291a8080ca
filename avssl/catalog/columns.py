"""Tables whose columns are declared: which column says what, and what the columns of a table tell of its format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avssl.catalog.names import read_names
from avssl.catalog.records import Record, columns_of, records
from avssl.catalog.rows import UNITS, Entry, Place, Settings, clean, seconds

FIELDS = ("path", "start", "stop", "duration", "label", "labels", "group", "view", "name")
HOW = ("unit", "separator", "names", "delimiter", "encoding", "header")
WORDS = {"tab": "\t", "blank": " "}


def settings_from(columns: Mapping[str, str | Sequence[str]], option: str = "") -> Settings:
    """Sort declared columns into those of the table and how it is written.

    Raises:
        FileNotFoundError: if there is no such names file.
        ValueError: for an unknown key or value.
    """
    unknown = [key for key in columns if key not in FIELDS + HOW]
    if unknown:
        raise ValueError(f"columns: {unknown[0]!r} is none of {', '.join(FIELDS)}; nor of {', '.join(HOW)}")
    plain = {key: str(value) for key, value in columns.items() if key != "names"}
    if plain.get("unit", "s") not in UNITS:
        raise ValueError(f"columns: unit={plain['unit']}: expected one of {', '.join(UNITS)}")
    if plain.get("header", "yes") not in ("yes", "no"):
        raise ValueError(f"columns: header={plain['header']}: expected yes or no")
    if {"label", "labels"} <= plain.keys() or {"stop", "duration"} <= plain.keys():
        raise ValueError("columns: give one of label and labels, and one of stop and duration")
    names = columns.get("names", ())
    files = [names] if isinstance(names, str | Path) else list(names)
    delimiter = plain.get("delimiter", "")
    separator = plain.get("separator", "")
    return Settings(
        columns={key: value for key, value in plain.items() if key in FIELDS},
        option=option,
        names=tuple(read_names(Path(file)) for file in files),
        unit=plain.get("unit", "s"),
        separator=WORDS.get(separator, separator),
        delimiter=WORDS.get(delimiter, delimiter),
        encoding=plain.get("encoding", ""),
        header=plain.get("header", "yes") == "yes",
    )


def detect(path: Path, settings: Settings, headers: Mapping[str, frozenset[str]]) -> str | None:
    """Return the format that a table's columns tell; None if it is a table of its own.

    Raises:
        ValueError: if it has neither the declared columns (or ``path`` and another one) nor those of a format.
    """
    if settings.columns:
        return None
    there = columns_of(path, settings)
    if there is None:
        there = next((list(record) for _, record in records(path, settings)), ["path"])
    if "path" in there:
        return None
    found = [name for name, header in headers.items() if header and header <= set(there)]
    if len(found) > 1:
        raise ValueError(f"{path}: its columns fit the formats {', '.join(found)}: say which, with format")
    return found[0] if found else None


def entries(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the rows of a table with declared columns, or with columns called as ours.

    Raises:
        ValueError: if the table or a row is malformed; the message has the line.
    """
    yield from mapped(path, settings, dict(settings.columns) or {name: name for name in FIELDS}, not settings.columns)


def mapped(path: Path, settings: Settings, columns: Mapping[str, str], loose: bool = False) -> Iterator[Entry]:
    """Yield the rows of a table.

    Args:
        path: the table.
        settings: how it is written.
        columns: the table's name of a column by ours.
        loose: columns but ``path`` and one that says something of it may be missing.

    Raises:
        ValueError: as :func:`entries`.
    """
    there = columns_of(path, settings)
    if there is not None:
        lacking = [name for name in columns.values() if name not in there]
        if loose:
            told = {"label", "labels", "start", "group", "view"} & set(there)
            lacking = [name for name in ("path", "label") if name not in there and not (name == "label" and told)]
        if lacking:
            raise ValueError(
                f"{path}: columns {lacking} are missing; it has {there}. Declare them (columns path=..., label=...), "
                "or give the format"
            )
        columns = {key: name for key, name in columns.items() if name in there}
    seen: set[str] = set()
    for line, record in records(path, settings, frozenset(columns.values())):
        seen |= record.keys()
        try:
            present = {key: name for key, name in columns.items() if name in record} if loose else columns
            yield entry(line, record, present, settings)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    absent = [name for name in columns.values() if name not in seen]
    if seen and absent and not loose:
        raise ValueError(f"{path}: no record has {absent}; the records have {sorted(seen)}")


def entry(line: int, record: Record, columns: Mapping[str, str], settings: Settings) -> Entry:
    """Return what one row says.

    Raises:
        ValueError: if it names no file, or its times can't be read.
    """
    values = {key: record.get(name) for key, name in columns.items()}
    texts = {key: _text(values.get(key)) for key in ("path", "group", "view", "name")}
    for key, text in texts.items():
        if text is not None and any(mark in text for mark in "\n\r\0"):
            raise ValueError(f"{key} holds the end of a line: {text!r}. Is a quote not closed?")
    path = texts["path"]
    if path is None:
        raise ValueError(f"it names no file: {columns.get('path', 'path')} is empty")
    start, stop = span(values, settings.unit)
    labels = classes(values, settings)
    joined = "labels" in columns
    return Entry(line, (Place(path, start, stop),), labels, texts["group"], texts["view"], texts["name"], joined=joined)


def span(values: Mapping[str, Any], unit: str) -> tuple[float | None, float | None]:
    """Return start and stop of a row in seconds; None and None for the whole file.

    Raises:
        ValueError: if only one of them is given, or can't be read.
    """
    start, stop, duration = (
        None if values.get(key) in (None, "") else seconds(values[key], unit) for key in ("start", "stop", "duration")
    )
    if duration is not None and start is not None:
        stop = start + duration
    if (start is None) != (stop is None):
        raise ValueError(f"start {values.get('start')!r} and stop {values.get('stop')!r}: give both, or neither")
    return start, stop


def classes(values: Mapping[str, Any], settings: Settings) -> tuple[str, ...] | None:
    """Return the classes of a row; None if it doesn't tell.

    Raises:
        ValueError: if a class isn't in the names file, or holds the end of a line.
    """
    if "labels" in values:
        given = values["labels"]
        if isinstance(given, str):
            given = given.split(settings.separator) if settings.separator else [given]
        elif given is None or not isinstance(given, Sequence):
            given = [] if given is None else [given]
    else:
        given = values.get("label")
        if isinstance(given, str) or given is None or not isinstance(given, Sequence):
            given = [given]
        if given == [None] or given == [""]:
            return None
    names = [settings.class_name(label) for label in given if clean(label)]
    broken = [name for name in names if "\n" in name or "\r" in name]
    if broken:
        raise ValueError(f"a class holds the end of a line: {broken[0]!r}. Is a quote not closed?")
    if not names and "label" in values and "labels" not in values:
        return None
    return tuple(names)


def _text(value: Any) -> str | None:
    return None if value is None or not clean(value) else clean(value)
