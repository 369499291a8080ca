"""What tests ask of built datasets."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Time of change and hash of every file below a folder."""
    return {
        os.fspath(path.relative_to(root)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def contents(out: Path) -> dict[str, str]:
    """The hash of every file of a dataset, the store left out."""
    return {name: digest for name, (_, digest) in tree(out).items() if not name.startswith(".work")}


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    return pq.read_table(path).to_pylist()
