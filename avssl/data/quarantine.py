"""Videos that can't be read, identified also when a worker hangs or dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from avssl.data.collection import Collection

EXIT_SECONDS = 5.0  # a worker's pipes close up to this long before its death is known


class Unreadable(NamedTuple):
    """A video that could not be read: its row in the collection, its path, and a code and message for the reason."""

    row: int
    path: str
    code: str
    message: str


class Quarantine:
    """The unreadable videos of a collection, shared by the dataset that reads it and the loader that watches workers.

    Attributes:
        failures: unreadable videos by row; they are not tried again.
        file: JSON-lines file that keeps them for a resumed run, or None.
        in_flight: ``[workers, 3]`` int64 in shared memory: the row that each worker is reading (-1 for none), its
            process id, and when it began (monotonic clock, ns). None without workers.
    """

    def __init__(self, videos: Collection) -> None:
        self.videos = videos
        self.failures: dict[int, Unreadable] = {}
        self.file: Path | None = None
        self.in_flight: Tensor | None = None

    def __contains__(self, row: int) -> bool:
        return row in self.failures

    def __len__(self) -> int:
        return len(self.failures)

    def keep_in(self, file: Path) -> None:
        """Append further failures to ``file``, and recall those it holds whose videos are unchanged."""
        self.file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            entry = json.loads(line)
            row, path, size, changed = entry["row"], Path(entry["path"]), entry.pop("size"), entry.pop("mtime_ns")
            if row < len(self.videos) and self.videos[row].path == path and path.exists():
                stat = path.stat()
                if (stat.st_size, stat.st_mtime_ns) == (size, changed):
                    self.failures[row] = Unreadable(**entry)

    def add(self, failure: Unreadable) -> bool:
        """Quarantine a video; return False if it already was."""
        if failure.row in self.failures:
            return False
        self.failures[failure.row] = failure
        if self.file is not None:
            path = Path(failure.path)
            stat = path.stat() if path.exists() else None  # it may be gone
            entry = {**failure._asdict(), "size": stat and stat.st_size, "mtime_ns": stat and stat.st_mtime_ns}
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        return True

    def watch(self, workers: int) -> None:
        """Begin to record what each of the workers is reading; call before they start."""
        self.in_flight = torch.full((workers, 3), -1, dtype=torch.int64).share_memory_()

    def mark(self, row: int) -> None:
        """Record, in a worker, that it reads ``row`` from now on; -1 for none."""
        worker = get_worker_info()
        if self.in_flight is not None and worker is not None:
            self.in_flight[worker.id] = torch.tensor([row, os.getpid(), time.monotonic_ns()])

    def culprits(self, error: BaseException, timeout: float) -> list[Unreadable]:
        """Return what dead workers, and those near ``timeout`` seconds, were reading at an error; kill the latter."""
        if self.in_flight is None:
            return []
        if isinstance(error, (EOFError, OSError)):
            wait([child.sentinel for child in multiprocessing.active_children()], EXIT_SECONDS)
        alive = {child.pid: child for child in multiprocessing.active_children()}
        failures = []
        for row, pid, started in self.in_flight.tolist():
            if row < 0:
                continue
            path, seconds = self.videos[row].path, (time.monotonic_ns() - started) / 1e9
            if pid not in alive:
                failures.append(Unreadable(row, str(path), "crashed", f"{path}: the worker died while reading it"))
            elif seconds >= 0.9 * timeout:
                alive[pid].kill()
                failures.append(Unreadable(row, str(path), "timeout", f"{path}: not read after {seconds:.0f} s"))
        return failures
