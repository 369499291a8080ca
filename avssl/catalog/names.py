"""Files that name classes: a name per id or per line, in the forms that data sets publish."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from avssl.catalog.records import Rows, columns_of, table
from avssl.catalog.rows import Settings, clean
from avssl.catalog.texts import text_lines

IDS = ("id", "index", "mid", "label_id", "class_id")
NAMES = ("display_name", "name", "key", "label_name", "class_name", "class", "label")
ITEM = re.compile(r"(?:item|label)\s*\{(.*?)\}", re.DOTALL)


def read_names(path: Path, encoding: str = "") -> dict[str, str]:
    """Return class names by class id, both as text.

    Takes CSV with a header (id columns ``id index mid label_id class_id``, name columns ``display_name name key
    label_name class_name class label``), headless CSV of an id and a name in either order, lines ``id name``, lines of
    names alone (their ids are 0, 1, 2, ...), JSON (an array of names, or an object of ids and names in either order)
    and ``.pbtxt``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none of these, or gives an id twice.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        pairs = _from_json(path, encoding)
    elif suffix == ".pbtxt":
        pairs = _from_pbtxt(path, encoding)
    else:
        lines = [line.strip() for line in text_lines(path, encoding) if line.strip()]
        if suffix in (".csv", ".tsv") or (lines and all(re.search(r",\s*\d+$", line) for line in lines)):
            pairs = _from_table(path, encoding)
        elif lines and all(re.match(r"[A-Za-z]?\d+\s+\S", line) for line in lines):
            pairs = [(name[0], name[1]) for name in (line.split(None, 1) for line in lines)]
        else:
            pairs = [(str(number), line) for number, line in enumerate(lines)]
    names: dict[str, str] = {}
    for key, name in pairs:
        key, name = clean(key), clean(name)
        if names.setdefault(key, name) != name:
            raise ValueError(f"{path}: class {key!r} has two names: {names[key]!r} and {name!r}")
    if not names:
        raise ValueError(f"{path}: no class names")
    return names


def _from_table(path: Path, encoding: str) -> list[tuple[str, str]]:
    settings = Settings(encoding=encoding)
    header = columns_of(path, settings) or []
    ids = [name for name in IDS if name in header]
    named = next((name for name in NAMES if name in header), None)
    if ids and named is not None:
        return [(row[column], row[named]) for _, row in table(path, settings) for column in ids]
    pairs = []
    for line, fields in Rows(path, settings):
        if len(fields) != 2:
            why = f"expected a class id and a class name, or a header with one of {IDS} and one of {NAMES}"
            raise ValueError(f"{path}, line {line}: {why}")
        pairs.append((fields[0], fields[1]))
    return _ids_first(pairs)


def _ids_first(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turn pairs of a name and a number round."""
    backwards = all(name.isdigit() for _, name in pairs) and not all(key.isdigit() for key, _ in pairs)
    return [(name, key) for key, name in pairs] if backwards else pairs


def _from_json(path: Path, encoding: str) -> list[tuple[str, str]]:
    try:
        found = json.loads("".join(text_lines(path, encoding)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if isinstance(found, list):
        return [(str(number), _joined(name)) for number, name in enumerate(found)]
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected class names by id, got {type(found).__name__}")
    return _ids_first([(key, _joined(value)) for key, value in found.items()])


def _joined(name: Any) -> str:
    """Return a class name; one of several parts (Diving48's) is joined."""
    return " ".join(map(str, name)) if isinstance(name, list) else str(name)


def _from_pbtxt(path: Path, encoding: str) -> list[tuple[str, str]]:
    pairs = []
    for item in ITEM.findall("".join(text_lines(path, encoding))):
        key = re.search(r"\b(?:label_)?id\s*:\s*(\d+)", item)
        name = re.search(r'\bname\s*:\s*"((?:[^"\\]|\\.)*)"', item)
        if key is None or name is None:
            raise ValueError(f"{path}: an item without id or name: {' '.join(item.split())}")
        pairs.append((key[1], name[1].replace('\\"', '"')))
    return pairs
