"""Rows that were measured before, found again by file and segment without a Python object per row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.asked import AskedRows
from avssl.catalog.compact import TOGETHER, Batches, Ints, hashes
from avssl.catalog.found import Files
from avssl.catalog.table import keys_of

PLACE = ["path", "member"]


class Known:
    """Measured rows of a collection's files.

    Args:
        files: the files to look for.
        asked: their segments, in the manifest's order.
        rows: measured rows, with the columns of a manifest; later ones replace earlier ones.
        root: the collection; rows of others don't count.

    Attributes:
        seen: ``[F]`` bool, True if there is any row of the file.
        count: number of rows of this collection.
        gone: number of files with rows that are not among ``files``.
    """

    def __init__(self, files: Files, asked: AskedRows, rows: Batches, root: str) -> None:
        self.rows, self._files, self._asked = rows, files, asked
        here = [pc.equal(part.column(0), root).to_numpy() for part in rows.columns(["root"])]
        mine = np.flatnonzero(np.concatenate([*here, np.zeros(0, np.bool_)]))
        self.count = len(mine)
        owner, self.gone = _owners(files, rows, mine)
        self.seen = np.bincount(owner[owner >= 0], minlength=len(files)) > 0
        (starts, stops), wanted = _stored_bounds(rows), asked.bounds()
        places = _last_places((owner, starts[mine], stops[mine]), (asked.owner, *wanted))
        self._places = np.where(places < 0, -1, mine[places]) if len(mine) else places  # [R]; -1 for unknown

    def current(self, reader: str) -> NDArray[np.bool_]:
        """Return the files, ``[F]``, of which every segment was measured by ``reader`` on the same bytes."""
        known = self._places >= 0
        owner = self._asked.owner
        names = ["size_bytes", "mtime_ns", "etag"]
        for start in range(0, len(known) if known.any() else 0, TOGETHER):
            some = slice(start, start + TOGETHER)
            stored = self.rows.take(self._places[some], [*names, "reader"])
            now = self._files.rows.take(owner[some], names)
            for name in names:
                known[some] &= _same(stored.column(name), now.column(name))
            known[some] &= pc.fill_null(pc.equal(stored.column("reader"), reader), False).to_numpy()
        return np.bincount(owner[~known], minlength=len(self._files)) == 0

    def usable(self) -> NDArray[np.bool_]:
        """Return which segments can be used, ``[R]``; every one must be known."""
        ok = [pc.equal(part.column(0), "ok").to_numpy() for part in self.rows.columns(["status"])]
        return np.concatenate([*ok, np.zeros(0, np.bool_)])[self._places]

    def take(self, numbers: Ints) -> pa.Table:
        """Return the rows of some segments, by their numbers among all."""
        return self.rows.take(self._places[numbers])


def _owners(files: Files, rows: Batches, mine: Ints) -> tuple[Ints, int]:
    """Return the file of some rows, -1 for none, and the number of files with rows that aren't there."""
    marks = np.concatenate([np.zeros(0, np.int64), *(hashes(chunk) for chunk in files.keys.chunks)])
    order = np.argsort(marks, kind="stable")
    marks = marks[order]
    found, gone = np.full(len(mine), -1), []
    for start in range(0, len(mine), TOGETHER):
        keys = keys_of(rows.take(mine[start : start + TOGETHER], PLACE))
        wanted = hashes(keys)
        at = np.searchsorted(marks, wanted)
        place = np.full(len(wanted), -1)
        left = np.flatnonzero(at < len(marks))
        while len(left := left[marks[at[left]] == wanted[left]]):
            theirs = keys_of(files.rows.take(order[at[left]], PLACE))
            right = pc.equal(theirs, keys.take(pa.array(left))).to_numpy(zero_copy_only=False)
            place[left[right]] = order[at[left[right]]]
            left = left[~right]
            at[left] += 1
            left = left[at[left] < len(marks)]
        found[start : start + len(place)] = place
        gone.append(np.unique(wanted[place < 0]))
    return found, len(np.unique(np.concatenate([np.zeros(0, np.int64), *gone])))


def _same(one: pa.ChunkedArray, other: pa.Array) -> NDArray[np.bool_]:
    """Return where two columns are equal, or both null."""
    both = pc.and_(one.is_null(), other.is_null())
    return pc.or_(pc.fill_null(pc.equal(one, other), False), both).to_numpy()


def _stored_bounds(rows: Batches) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the start and stop that each row was asked for, ``[K]``; -inf where there is none."""
    found: tuple[list[NDArray[np.float64]], ...] = ([], [])
    for part in rows.columns(["asked"]):
        asked = part.column(0)
        safe = pc.if_else(asked.is_valid(), asked, pa.scalar([None, None], asked.type))
        for which, each in enumerate(found):
            each.append(pc.fill_null(pc.list_element(safe, which), -np.inf).to_numpy())
    start, stop = (np.concatenate([*each, np.zeros(0)]) for each in found)
    return start, stop


Columns = tuple[Ints, NDArray[np.float64], NDArray[np.float64]]


def _last_places(known: Columns, wanted: Columns) -> Ints:
    """Return the place among ``[K]`` known rows of the last one equal to each of ``[R]``, or -1."""
    each = [np.concatenate(pair) for pair in zip(known, wanted, strict=True)]
    order = np.lexsort(each[::-1])
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = False
    for column in each:
        fresh[1:] |= column[order[1:]] != column[order[:-1]]
    number = np.cumsum(fresh) - 1
    count = len(known[0])
    last = np.full(number[-1] + 1 if len(number) else 0, -1)
    last[number[order < count]] = order[order < count]  # ascending within a number
    places = np.empty(len(wanted[0]), np.int64)
    places[order[order >= count] - count] = last[number[order >= count]]
    return places
