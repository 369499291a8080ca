"""What stages have made, each record under a key of all that it depends on, so that nothing is made twice."""

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
    """A key that changes when any of the facts does; they must be what JSON can hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class Store:
    """A folder of records (JSON) and of the files that go with them. Any number of processes may share it.

    A record appears whole, and after its file. Two processes that make the same one write the same bytes.

    Args:
        folder: where it lies.
        retry: make rejections anew rather than believe their records.
    """

    def __init__(self, folder: Path, retry: bool = False) -> None:
        self.folder, self.retry = folder, retry
        self.made: dict[str, int] = {}

    def path(self, stage: str, key: str, suffix: str = ".json") -> Path:
        """Where a record, or a file that goes with it, lies."""
        return self.folder / stage / key[:2] / f"{key}{suffix}"

    def record(self, stage: str, key: str, make: Callable[[], Record], suffix: str | None = None) -> Record:
        """What ``make`` returned here or in an earlier process.

        Args:
            stage: what makes it.
            key: of all that the result depends on.
            make: called where there is no such record yet.
            suffix: ending of the file that goes with the record and without which it counts for nothing. Its size is
                kept in the record, as ``bytes``.
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
        """A record, if there is one that counts."""
        try:
            record: Record = json.loads(self.path(stage, key).read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):  # the latter: what a power cut may leave
            return None
        if "reason" in record:
            return None if self.retry else record
        if suffix is not None:
            path = self.path(stage, key, suffix)
            if not path.is_file() or path.stat().st_size != record["bytes"]:
                return None
        return record

    def write(self, stage: str, key: str, record: Record) -> None:
        """Write a record down."""
        self.made[stage] = self.made.get(stage, 0) + 1
        with self.growing(stage, key, ".json") as partial:
            partial.write_bytes(json.dumps(record, sort_keys=True).encode())

    def growing(self, stage: str, key: str, suffix: str) -> AbstractContextManager[Path]:
        """A path to write a file to, which gets its proper name if it is there as the block ends without an error."""
        return growing(self.path(stage, key, suffix))
