"""Rows that were measured before, found again by file and segment without a Python object per row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.finding import Found
from avssl.catalog.measuring import Span
from avssl.catalog.table import keys_of

Ints = NDArray[np.int64]


class Known:
    """Measured rows of a collection's files.

    Args:
        files: the files to look for.
        spans: segments of each file, in the manifest's order.
        rows: measured rows, with the columns of a manifest; later ones replace earlier ones.

    Attributes:
        seen: ``[F]`` bool, True if there is any row of the file.
        gone: number of files with rows that are not among ``files``.
    """

    def __init__(self, files: Sequence[Found], spans: Sequence[Sequence[Span]], rows: pa.Table) -> None:
        self.rows = rows
        counts = np.fromiter(map(len, spans), np.int64, len(spans))
        self._owner = np.repeat(np.arange(len(files)), counts)  # [R] file of each wanted row
        keys = keys_of(rows)
        number = pc.index_in(keys, pa.array([file.key for file in files], pa.large_string()))
        here = number.is_valid().to_numpy(zero_copy_only=False)
        owner = pc.fill_null(number, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        self.seen = np.bincount(owner[here], minlength=len(files)) > 0
        self.gone = len(keys.filter(number.is_null()).unique())
        wanted = np.stack([self._owner, *_bounds(chain.from_iterable(spans), len(self._owner))], 1)
        self._places = _last_places(np.stack([owner, *_stored_bounds(rows)], 1), wanted)  # [R]; -1 for unknown

    def current(self, files: Sequence[Found], reader: str) -> NDArray[np.bool_]:
        """Return the files, ``[F]``, of which every segment was measured by ``reader`` on the same bytes."""
        known = self._places >= 0
        if not len(self.rows):
            return np.bincount(self._owner, minlength=len(files)) == 0
        at = pa.array(np.maximum(self._places, 0))
        for name in ("size_bytes", "mtime_ns", "etag"):
            kind = self.rows.schema.field(name).type
            mine = pa.array([getattr(file, name) for file in files], kind).take(pa.array(self._owner))
            known &= _same(self.rows.column(name).take(at), mine)
        known &= pc.fill_null(pc.equal(self.rows.column("reader").take(at), reader), False).to_numpy()
        return np.bincount(self._owner[~known], minlength=len(files)) == 0

    def usable(self) -> NDArray[np.bool_]:
        """Return which segments can be used, ``[R]``; every one must be known."""
        return pc.equal(self.rows.column("status"), "ok").to_numpy()[self._places]

    def take(self, numbers: Sequence[int]) -> pa.Table:
        """Return the rows of some segments, by their numbers among all."""
        return self.rows.take(pa.array(self._places[list(numbers)]))


def _same(one: pa.ChunkedArray, other: pa.Array) -> NDArray[np.bool_]:
    """Return where two columns are equal, or both null."""
    both = pc.and_(one.is_null(), other.is_null())
    return pc.or_(pc.fill_null(pc.equal(one, other), False), both).to_numpy()


def _bounds(spans: Any, count: int) -> tuple[Ints, Ints]:
    """Return the bits of the starts and stops of some segments, ``[R]`` each."""
    values = np.full((2, count), -np.inf)
    for place, span in enumerate(spans):
        if span is not None:
            values[:, place] = [-np.inf if bound is None else bound for bound in span]
    return values[0].view(np.int64), values[1].view(np.int64)


def _stored_bounds(rows: pa.Table) -> tuple[Ints, Ints]:
    asked = rows.column("asked")
    found = []
    for which in (0, 1):
        safe = pc.if_else(asked.is_valid(), asked, pa.scalar([None, None], asked.type))
        values = pc.fill_null(pc.list_element(safe, which), -np.inf).to_numpy().astype(np.float64)
        found.append(values.view(np.int64))
    return found[0], found[1]


def _last_places(known: Ints, wanted: Ints) -> Ints:
    """Return the place among ``[K, 3]`` known rows of the last one equal to each of ``[R, 3]``, or -1."""
    both = (
        np.ascontiguousarray(np.concatenate([known, wanted])).view("V24")[:, 0] if len(wanted) else np.empty(0, "V24")
    )
    _, numbers = np.unique(both, return_inverse=True)
    last = np.full(len(both), -1)
    last[numbers[: len(known)]] = np.arange(len(known))
    return last[numbers[len(known) :]]
