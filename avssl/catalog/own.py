"""Lists that data sets bring with them: which they are, and by what they are recognised."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.formats import FORMATS
from avssl.catalog.records import columns_of, records
from avssl.catalog.rows import Settings

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
DEPTH = 2  # folders below the collection's in which `datasets` looks for them
SHARD = re.compile(r"([0-9]+)\.tar/")


def own_format(root: Path, paths: Sequence[str]) -> str | None:
    """Return the format of a collection that brings its own lists; None if it brings none.

    A LeRobot data set has ``meta/info.json`` with a version 3, a folder of ``datasets`` a ``metadata`` table with the
    column ``file_name``, and video2dataset a Parquet file with the columns ``key`` and ``status`` beside each tar.

    Args:
        root: folder of the collection.
        paths: its files, relative to ``root``; members of a tar are below its name.
    """
    if _lerobot_version(root).startswith("v3"):
        return "lerobot_v3"
    shards = {found[1] for path in paths if (found := SHARD.match(path))}
    if any(_has(root / f"{name}.parquet", {"key", "status"}) for name in sorted(shards)):
        return "video2dataset"
    if metadata_of(root, paths):
        return "hf_videofolder"
    return None


def metadata_of(root: Path, paths: Sequence[str]) -> list[Path]:
    """Return the ``metadata`` tables of ``datasets`` in the folders of a collection, sorted."""
    folders = {""}
    for path in paths:
        parts = path.split("/")[:-1]
        folders |= {"/".join(parts[:depth]) for depth in range(1, min(len(parts), DEPTH) + 1)}
    found = (root / folder / name for folder in folders for name in METADATA)
    return sorted(table for table in found if _has(table, {"file_name"}))


def own_lists(root: Path, paths: Sequence[str], format: str | None) -> list[Path]:
    """Return the lists of a format that a collection brings with it.

    Raises:
        FileNotFoundError: if it has none.
        ValueError: if there is no such format, or collections don't bring its lists.
    """
    name = (format or "").partition(":")[0]
    if name and name not in FORMATS:
        raise ValueError(f"format={format}: there is no such format; there are {', '.join(sorted(FORMATS))}")
    pattern = FORMATS[name].default if name else ""
    if not pattern:
        raise ValueError(f"labels=auto: give the lists themselves{f' of {name}' if name else ''} as labels")
    found = metadata_of(root, paths) if name == "hf_videofolder" else []
    found = found or sorted(root.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{root}: no list of {name} ({pattern}). Give its lists as labels")
    return found


def _lerobot_version(root: Path) -> str:
    info = root / "meta" / "info.json"
    try:
        return str(json.loads(info.read_text(encoding="utf-8"))["codebase_version"]) if info.is_file() else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _has(table: Path, columns: set[str]) -> bool:
    """Return whether a table exists and has these columns; what can't be read as a table is something else."""
    if not table.is_file():
        return False
    try:
        there = columns_of(table, Settings())
        if there is None:
            there = next((list(record) for _, record in records(table, Settings())), [])
    except ValueError:
        return False
    return columns <= set(there)
