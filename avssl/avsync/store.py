"""Records of stages, each under a key of everything it depends on, so that nothing is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from avssl.runtime.files import growing

Record = dict[str, Any]


def key_of(*facts: Any) -> str:
    """Return a key that changes if any of the facts (JSON values) does."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class Store:
    """A folder of records (JSON) and their files, which any number of processes may share.

    A record appears whole, and after its file. Two processes that make the same one write the same bytes. With
    ``retry``, rejections are made anew instead of returned.
    """

    def __init__(self, folder: Path, retry: bool = False) -> None:
        self.folder, self.retry = folder, retry
        self.made: dict[str, int] = {}

    def path(self, stage: str, key: str, suffix: str = ".json") -> Path:
        """Return the place of a record, or of its file."""
        return self.folder / stage / key[:2] / f"{key}{suffix}"

    def record(self, stage: str, key: str, make: Callable[[], Record], suffix: str | None = None) -> Record:
        """Return what ``make`` returned, in this process or an earlier one.

        A record with a file (``suffix``) doesn't count without that file, whose size it keeps as ``bytes``.
        """
        found = self.find(stage, key, suffix)
        if found is not None:
            return found
        record = make()
        if suffix is not None and "reason" not in record:
            record = {**record, "bytes": self.path(stage, key, suffix).stat().st_size}
        self.write(stage, key, record)
        return record

    def find(self, stage: str, key: str, suffix: str | None = None) -> Record | None:
        """Return a record if there is one that counts."""
        try:
            record: Record = json.loads(self.path(stage, key).read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):  # the latter after a power cut
            return None
        if "reason" in record:
            return None if self.retry else record
        if suffix is not None:
            path = self.path(stage, key, suffix)
            if not path.is_file() or path.stat().st_size != record["bytes"]:
                return None
        return record

    def write(self, stage: str, key: str, record: Record) -> None:
        """Write a record."""
        self.made[stage] = self.made.get(stage, 0) + 1
        with self.growing(stage, key, ".json") as partial:
            partial.write_bytes(json.dumps(record, sort_keys=True).encode())

    def growing(self, stage: str, key: str, suffix: str) -> AbstractContextManager[Path]:
        """Yield a path to write to; the file gets its final name if the block ends without an error."""
        return growing(self.path(stage, key, suffix))
