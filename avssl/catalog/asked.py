"""What is asked of the files of a large collection: rows in columns, grouped by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.compact import TOGETHER, Batches, Builder, Ints
from avssl.catalog.rows import Asked

ASKED = pa.schema(
    [
        ("name", pa.string()),
        ("start", pa.float64()),
        ("stop", pa.float64()),
        ("labels", pa.list_(pa.string())),
        ("group", pa.string()),
        ("view", pa.string()),
    ]
)
assert tuple(ASKED.names) == Asked._fields


class AskedRows(Sequence[list[Asked]]):
    """The rows of every file, a list each.

    Args:
        rows: rows with the fields of `Asked`.
        order: ``[R]`` places in ``rows``, file by file; -1 is a row of which nothing is said.
        counts: ``[F]`` number of rows of each file.
    """

    def __init__(self, rows: Batches, order: Ints, counts: Ints) -> None:
        self._rows, self._order, self.counts = rows, order, counts
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    @classmethod
    def of(cls, every: Iterable[Sequence[Asked]]) -> AskedRows:
        """Gather the rows of one file after the other."""
        builder, counts = Builder(ASKED), []
        for rows in every:
            counts.append(len(rows))
            for row in rows:
                builder.add(row)
        built = builder.build()
        return cls(built, np.arange(len(built)), np.asarray(counts, np.int64))

    def completed(self) -> AskedRows:
        """Return the same with a row for each file without one, of which nothing is said."""
        places = np.repeat(self._starts[:-1][self.counts == 0], 1)
        return AskedRows(self._rows, np.insert(self._order, places, -1), np.maximum(self.counts, 1))

    @property
    def num_rows(self) -> int:
        """Number of rows of all files."""
        return len(self._order)

    @property
    def owner(self) -> Ints:
        """The file of each row, ``[R]``."""
        return np.repeat(np.arange(len(self)), self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, place: int) -> list[Asked]: ...
    @overload
    def __getitem__(self, place: slice) -> list[list[Asked]]: ...
    def __getitem__(self, place: int | slice) -> list[Asked] | list[list[Asked]]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(f"AskedRows[{place}]: there are {len(self)} files")
        start, stop = self._starts[place : place + 2]
        return [Asked() if row < 0 else _asked(self._rows.row(int(row))) for row in self._order[start:stop]]

    def __iter__(self) -> Iterator[list[Asked]]:
        first = 0
        while first < len(self):
            last = max(first + 1, int(np.searchsorted(self._starts, self._starts[first] + TOGETHER, "right")) - 1)
            part = self.take(np.arange(self._starts[first], self._starts[last]))
            rows = map(_asked, zip(*(column.to_pylist() for column in part.columns), strict=True))
            for count in self.counts[first:last].tolist():
                yield [next(rows) for _ in range(count)]
            first = last

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: Ints) -> pa.Table:
        """Return rows by their numbers among all, with the fields of `Asked`."""
        return self._rows.take(self._order[numbers])

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the start and stop of each row, ``[R]``; -inf where there is none."""
        found = []
        for name in ("start", "stop"):
            values = [pc.fill_null(part.column(0), -np.inf).to_numpy() for part in self._rows.columns([name])]
            every = np.concatenate([*values, [-np.inf]])  # the last is that of the row that says nothing
            found.append(every[self._order])
        return found[0], found[1]


def _asked(values: Sequence[object]) -> Asked:
    asked = Asked._make(values)
    return asked if asked.labels is None else asked._replace(labels=tuple(asked.labels))
