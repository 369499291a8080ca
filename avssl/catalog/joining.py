"""Rows of lists, gathered by the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.asked import ASKED, AskedRows
from avssl.catalog.compact import TOGETHER, Batches, Builder, Ints, Texts, hashes
from avssl.catalog.rows import Asked, Entry, distinct

FURTHER = [("position", pa.int64()), ("file", pa.int32()), ("line", pa.int64()), ("joined", pa.bool_())]
GATHERED = pa.schema([*ASKED, *(pa.field(*each) for each in FURTHER)])
MISSING = pa.schema([("name", pa.string())])


class Conflict(ValueError):
    """A file is given two classes by rows of one class each.

    Attributes:
        file: number of the list with the later row, and its line.
        earlier: the same of the earlier one.
    """

    def __init__(self, earlier: tuple[Asked, int, int], later: tuple[Asked, int, int]) -> None:
        super().__init__("two classes")
        self.earlier, self.later = earlier, later


class Gathering:
    """Rows of lists in the order of the lists; :meth:`finish` joins those of the same seconds of the same file.

    Attributes:
        num_rows: rows of the lists.
        repeated: rows that say again what another one said.
        rejected: what is wrong with each row that asks for nothing.
        segments: a row asks for less than a whole file.
        twice: number of rows by an id that an earlier row has.
    """

    def __init__(self) -> None:
        self._rows, self._missing = Builder(GATHERED), Builder(MISSING)
        self.rejected: list[str] = []
        self.segments, self.num_rows, self.repeated = False, 0, 0
        self.twice: dict[str, int] = {}

    def lacks(self, name: str) -> None:
        """Note that the collection has no file of this name."""
        self._missing.add((name,))

    def missing(self) -> Texts:
        """Return the names without a file, once each, in order."""
        names = self._missing.build().column("name").unique()
        return Texts([names])

    def add(
        self,
        number: int,
        file: Path,
        entry: Entry,
        position: int,
        span: tuple[float | None, float | None],
        group: str | None,
    ) -> None:
        """Take a row of the list ``file``, the ``number``-th, that asks for some seconds of the file at a position."""
        start, stop = span
        self.segments |= start is not None
        if start is not None and stop is not None and (start < 0 or start >= stop):
            why = "before the file begins" if start < 0 else "it ends before it begins" if start > stop else "empty"
            self.rejected.append(f"{file}, line {entry.line}: {start:g} to {stop:g} s of {entry.places[0].name}: {why}")
            return
        labels = None if entry.labels is None else distinct(entry.labels)
        self._rows.add((entry.name, start, stop, labels, group, entry.view, position, number, entry.line, entry.joined))

    def finish(self, num_files: int, count: Callable[[pa.ChunkedArray], None] | None) -> AskedRows:
        """Return the rows of each file by their seconds, and forget them here.

        Args:
            num_files: number of files in the collection.
            count: told the groups of the rows, in the order of the lists.

        Raises:
            Conflict: if a file is given two classes.
        """
        rows = self._rows.build()
        del self._rows
        position, order, key, several = _order(rows)
        doubtful = several | _repeats(rows, several, key)
        dropped, unnamed, labels = self._judged(rows, np.flatnonzero(doubtful), key, several)
        if unnamed.any() or labels:
            rows = _changed(rows, unnamed, labels)
        if count is not None:
            kept = pa.array(~dropped)
            count(rows.column("group").filter(kept) if dropped.any() else rows.column("group"))
        order = order[~dropped[order]]
        counts = np.bincount(position[order], minlength=num_files)
        batches = [batch.select(ASKED.names) for batch in rows.batches]
        return AskedRows(Batches(batches, ASKED), order, counts)

    def _judged(
        self, rows: Batches, doubtful: Ints, key: Ints, several: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], dict[int, tuple[str, ...] | None]]:
        """Look at the rows that share seconds of a file or a name with another, in the order of the lists.

        Returns:
            Which rows say nothing new and which lose their name, ``[R]`` each, and the joined labels of some.
        """
        dropped, unnamed = np.zeros((2, len(rows)), np.bool_)
        joined: dict[int, tuple[str, ...] | None] = {}
        before: dict[int, list[tuple[int, tuple[Asked, int, int]]]] = {}
        names: set[str] = set()
        for number, values in _values(rows, doubtful):
            asked = Asked._make(values[:6])
            if asked.labels is not None:
                asked = asked._replace(labels=tuple(asked.labels))
            _, file, line, adds = values[6:]
            if several[number]:
                same = before.setdefault(int(key[number]), [])
                whole = asked.start is None
                if any(row[3:] == asked[3:] and (whole or row.name == asked.name) for _, (row, _, _) in same):
                    self.repeated += 1
                    dropped[number] = True
                    continue
                if same and adds:
                    first, (kept, *where) = same[0]
                    both = None
                    if kept.labels is not None or asked.labels is not None:
                        both = distinct((kept.labels or ()) + (asked.labels or ()))
                    same[0] = (first, (kept._replace(labels=both), where[0], where[1]))
                    joined[first], dropped[number] = both, True
                    continue
                if same and whole:
                    raise Conflict(same[0][1], (asked, file, line))
            if asked.name is not None and asked.name in names:
                self.twice[asked.name] = self.twice.get(asked.name, 0) + 1
                unnamed[number] = True
                asked = asked._replace(name=None)
            elif asked.name is not None:
                names.add(asked.name)
            if several[number]:
                same.append((number, (asked, file, line)))
        return dropped, unnamed, joined


def _values(rows: Batches, places: Ints) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for start in range(0, len(places), TOGETHER):
        some = places[start : start + TOGETHER]
        part = rows.take(some)
        yield from zip(some.tolist(), zip(*(column.to_pylist() for column in part.columns), strict=True), strict=True)


def _order(rows: Batches) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """Sort rows by file and seconds.

    Returns:
        The file of each row, their order, the number of each one's seconds of a file, and whether another row has the
        same; ``[R]`` each.
    """
    position = rows.column("position").to_numpy()
    plain = [pc.fill_null(rows.column(name), -np.inf).to_numpy() for name in ("start", "stop")]
    values = [np.where(np.isneginf(each), 0.0, each) for each in plain]
    order = np.lexsort([plain[1], plain[0], values[1], values[0], position])
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = np.logical_or.reduce([np.diff(each[order]) != 0 for each in (position, *values)])
    for each in plain:
        fresh[1:] |= np.isneginf(each[order][1:]) != np.isneginf(each[order][:-1])
    again = np.zeros(len(order), np.bool_)
    again[:-1] = ~fresh[1:]
    again |= ~fresh
    key, several = np.empty(len(order), np.int64), np.empty(len(order), np.bool_)
    key[order], several[order] = np.cumsum(fresh), again
    return position, order, key, several


def _repeats(rows: Batches, several: NDArray[np.bool_], key: Ints) -> NDArray[np.bool_]:
    """Return which rows have a name that an earlier or a later row has, ``[R]``."""
    name = rows.column("name")
    if name.null_count == len(name):
        return np.zeros(len(name), np.bool_)
    marks = np.concatenate([hashes(chunk) for chunk in name.chunks])
    order = np.argsort(marks, kind="stable")
    same = np.diff(marks[order]) == 0
    found = np.zeros(len(marks), np.bool_)
    found[order[1:][same]] = found[order[:-1][same]] = True
    return found & name.is_valid().to_numpy(zero_copy_only=False)


def _changed(rows: Batches, unnamed: NDArray[np.bool_], labels: dict[int, tuple[str, ...] | None]) -> Batches:
    """Return the rows with other labels, and some without a name."""
    builder = Builder(GATHERED)
    for number, values in enumerate(rows.rows()):
        name = None if unnamed[number] else values[0]
        builder.add((name, *values[1:3], labels.get(number, values[3]), *values[4:]))
    return builder.build()
