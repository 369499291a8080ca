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
from avssl.media import VideoInfo
from avssl.media.source import SourceError

LATE = "DataLoader timed out"  # how torch's error begins where no batch came in time, but no worker has died
SLOW = "Check the network and the store, or raise data.timeout above its deadline; run it again to go on from here"
EXIT_SECONDS = 5.0  # a worker's pipes close up to this long before its death is known


class Unreadable(NamedTuple):
    """A video that could not be read: its row in the collection, its place, and a code and message for the reason."""

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
            state = {name: entry.pop(name) for name in ("size", "mtime_ns", "etag") if name in entry}
            failure = Unreadable(**entry)
            if failure.row < len(self.videos):
                info = self.videos[failure.row]
                if info.place == failure.path and _state(info) == state:
                    self.failures[failure.row] = failure

    def add(self, failure: Unreadable) -> bool:
        """Quarantine a video; return False if it already was."""
        if failure.row in self.failures:
            return False
        self.failures[failure.row] = failure
        if self.file is not None:
            entry = failure._asdict() | _state(self.videos[failure.row])
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
        """Return what dead workers, and those near ``timeout`` seconds, were reading at an error; kill the latter.

        Raises:
            SourceError: ``timeout`` if objects of a store were waited for: nothing is said against these.
        """
        if self.in_flight is None:
            return []
        if isinstance(error, (EOFError, OSError)):
            wait([child.sentinel for child in multiprocessing.active_children()], EXIT_SECONDS)
        alive = {child.pid: child for child in multiprocessing.active_children()}
        failures, awaited = [], []
        for row, pid, started in self.in_flight.tolist():
            if row < 0:
                continue
            info, seconds = self.videos[row], (time.monotonic_ns() - started) / 1e9
            path = info.place
            if pid not in alive:
                failures.append(Unreadable(row, path, "crashed", f"{path}: the worker died while reading it"))
            elif info.source is not None and info.source.store:
                awaited.append(
                    SourceError(path, "timeout", f"no batch in {timeout:g} s, {seconds:.0f} s of it here", SLOW)
                )
            elif seconds >= 0.9 * timeout:
                alive[pid].kill()
                failures.append(Unreadable(row, path, "timeout", f"{path}: not read after {seconds:.0f} s"))
        if awaited and not failures and str(error).startswith(LATE):
            raise awaited[0] from error
        return failures


def _state(info: VideoInfo) -> dict[str, int | str | None]:
    """Return what tells whether the bytes of a recording have changed."""
    source = info.source
    if source is not None and source.store:
        return {"size": source.size_bytes, "mtime_ns": None, "etag": source.etag}
    try:
        facts = os.stat(info.path if source is None else source.path)
    except OSError:
        return {"size": None, "mtime_ns": None}
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
