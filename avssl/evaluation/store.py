"""Features on disk: shards of a fixed number of videos, read by blocks, so that memory does not grow with the videos.

A folder holds ``features.json`` (shape and facts) and ``00000.npy``, ``00001.npy``, ..., each written at once or not at
all. A job that was killed resumes with the shards that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avssl.runtime.files import write_atomically, write_text

Floats = NDArray[np.float32]
Rows = int | slice | Sequence[int] | NDArray[np.integer]
Storage = Literal["float32", "float16"]
BLOCK = 1 << 26  # bytes of float32 that `Shards.blocks` reads at a time


@dataclass(frozen=True)
class Shards:
    """Features ``[V, M, N]`` in a folder; indexing reads rows from the disk as float32.

    ``shards[7]`` is ``[M, N]``; ``shards[10:20]`` and ``shards[[3, 1, 4]]`` are ``[rows, M, N]``.

    Attributes:
        folder: the folder.
        count: number of videos in it.
        stored: M and N in it.
        per_shard: videos per shard.
        storage: type of the numbers in it.
        places: ``[V]`` where each row is in it, -1 for a row of zeros; None if rows are those of the folder, in order.
        steps: functions from ``[n, M, N]`` to ``[n, M', N']`` that rows go through after they are read.
        shown: M and N after these.
    """

    folder: Path
    count: int
    stored: tuple[int, int]
    per_shard: int
    storage: Storage
    places: NDArray[np.int64] | None = None
    steps: tuple[Callable[[Floats], Floats], ...] = ()
    shown: tuple[int, int] | None = None

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Open a folder by its ``features.json``.

        Raises:
            FileNotFoundError: if there is none.
        """
        found = json.loads((folder / "features.json").read_text())
        return cls(folder, found["videos"], tuple(found["shape"]), found["per_shard"], found["storage"])

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write ``features.json`` with the shape and further facts."""
        shape = {"videos": self.count, "shape": self.stored, "per_shard": self.per_shard, "storage": self.storage}
        write_text(self.folder / "features.json", json.dumps({**shape, "facts": facts}, indent=1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(V, M, N)."""
        return (len(self), *(self.shown or self.stored))

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    def __len__(self) -> int:
        return self.count if self.places is None else len(self.places)

    @property
    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-self.count // self.per_shard))

    def held(self, shard: int) -> range:
        """Return the videos of a shard."""
        return range(shard * self.per_shard, min((shard + 1) * self.per_shard, self.count))

    def missing(self) -> list[int]:
        """Return the shards that are not written yet."""
        there = {path.name for path in self.folder.glob("*.npy")}
        return [shard for shard in self.shards if self._path(shard).name not in there]

    def write(self, shard: int, values: Floats) -> None:
        """Write a shard ``[videos, M, N]``.

        Raises:
            ValueError: if a number is too large for the storage.
        """
        with np.errstate(over="ignore"):
            kept = values.astype(self.storage)
        if not np.array_equal(np.isfinite(kept), np.isfinite(values)):
            raise ValueError(
                f"features of up to {np.abs(values[np.isfinite(values)]).max():.3g} don't fit into float16, which ends "
                "at 65504: use --machine.storage=float32"
            )
        write_atomically(self._path(shard), lambda file: np.save(file, kept))

    def __getitem__(self, rows: Rows) -> Floats:
        if isinstance(rows, int | np.integer):
            return self[[int(rows)]][0]
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)]
        places = chosen if self.places is None else self.places[chosen]
        found = np.zeros((len(places), *self.stored), dtype=np.float32)
        order = np.argsort(places, kind="stable")
        shards = places[order] // self.per_shard
        bounds = [*np.flatnonzero(np.diff(shards, prepend=-2)), len(order)]  # where another shard begins
        for first, last in pairwise(bounds):
            if shards[first] >= 0:
                own = order[first:last]
                content = np.load(self._path(shards[first]), mmap_mode="r")
                found[own] = content[places[own] - shards[first] * self.per_shard]
        for step in self.steps:
            found = step(found)
        return found

    def blocks(self, rows: Sequence[int] | None = None, size: int | None = None) -> Iterator[tuple[range, Floats]]:
        """Yield the positions in ``rows`` (by default all), and the features of these, ``[n, M, N]``, in order.

        ``size`` is the number of rows at a time; by default as many as fit into `BLOCK`.
        """
        every = range(len(self)) if rows is None else rows
        size = size or max(1, BLOCK // (4 * self.stored[0] * self.stored[1]))
        for start in range(0, len(every), size):
            stop = min(start + size, len(every))
            chosen = every[start:stop]
            yield range(start, stop), self[slice(chosen.start, chosen.stop) if isinstance(chosen, range) else chosen]

    def mapped(self, function: Callable[[Floats], Floats]) -> Shards:
        """Return the same features through a function that works on each row by itself; nothing is read yet."""
        views, numbers = function(np.zeros((1, *self.shape[1:]), dtype=np.float32)).shape[1:]
        return replace(self, steps=(*self.steps, function), shown=(views, numbers))

    def placed(self, rows: Sequence[int], videos: int) -> Shards:
        """Return features of a collection of ``videos``, of which these are the ``rows``; others are zero."""
        places = np.full(videos, -1, dtype=np.int64)
        places[np.asarray(rows)] = np.arange(len(self)) if self.places is None else self.places
        return replace(self, places=places)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.npy"
