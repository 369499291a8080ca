"""Very many small records: kept in Arrow's columns, with Python objects only of those that are looked at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TOGETHER = 65_536  # records of a batch


def _nothing() -> None:
    pass


class Batches:
    """Record batches whose rows are taken by number.

    Args:
        batches: of ``schema``, or of one that can be cast to it.
        schema: of what is taken.
        release: gives back memory of mapped files; called after every :meth:`take`.
    """

    def __init__(
        self, batches: Sequence[pa.RecordBatch], schema: pa.Schema, release: Callable[[], None] = _nothing
    ) -> None:
        self.batches, self.schema, self.release = list(batches), schema, release
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self.batches)])
        self._ends = self._starts[1:].tolist()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, places: Ints, names: Sequence[str] | None = None) -> pa.Table:
        """Return the rows at ``[N]`` places, in that order, or some of their columns; -1 is a row of nulls."""
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        places = np.asarray(places, np.int64)
        number = np.searchsorted(self._starts[1:], places, "right")
        pieces, order = [schema.empty_table()], []
        for each in np.unique(number):
            chosen = np.flatnonzero(number == each)
            within = places[chosen] - self._starts[each]
            if places[chosen[0]] >= 0 and len(within) == within[-1] - within[0] + 1 and (np.diff(within) == 1).all():
                piece = self.batches[each].select(schema.names).slice(within[0], len(within))
            else:
                source = self.batches[each] if self.batches else schema.empty_table()
                piece = source.select(schema.names).take(pa.array(within, mask=places[chosen] < 0))
            pieces.append((piece if isinstance(piece, pa.Table) else pa.Table.from_batches([piece])).cast(schema))
            order.append(chosen)
        found = pa.concat_tables(pieces).combine_chunks()
        if len(order) > 1:
            back = np.concatenate(order)
            if (np.diff(back) < 0).any():
                found = found.take(pa.array(np.argsort(back)))
        self.release()
        return found

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield some columns of one batch after the other."""
        schema = pa.schema([self.schema.field(name) for name in names])
        for batch in self.batches:
            yield pa.Table.from_batches([batch.select(names)]).cast(schema)
            self.release()

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column."""
        kind = self.schema.field(name).type
        return pa.chunked_array([batch.column(name).cast(kind) for batch in self.batches], kind)

    def row(self, place: int) -> tuple[Any, ...]:
        """Return the values of one row."""
        number = bisect_right(self._ends, place)
        batch, within = self.batches[number], place - int(self._starts[number])
        return tuple(batch.column(name)[within].as_py() for name in self.schema.names)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the values of every row."""
        for part in self.columns(self.schema.names):
            yield from zip(*(column.to_pylist() for column in part.columns), strict=True)


class Builder:
    """Makes `Batches` of tuples with the fields of a schema; a column without values in a batch takes no memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: tuple[Any, ...]) -> None:
        """Take the next row."""
        self._rows.append(row)
        if len(self._rows) == TOGETHER:
            self._flush()

    def _flush(self) -> None:
        values = zip(*self._rows, strict=True)
        columns = [pa.array(each, field.type) for each, field in zip(values, self._schema, strict=True)]
        columns = [pa.nulls(len(column)) if column.null_count == len(column) else column for column in columns]
        self._batches.append(pa.record_batch(columns, names=self._schema.names))
        self._rows.clear()

    def build(self) -> Batches:
        """Return all rows taken."""
        if self._rows:
            self._flush()
        return Batches(self._batches, self._schema)


class Texts(Sequence[str]):
    """Many texts."""

    def __init__(self, chunks: Sequence[pa.Array]) -> None:
        self.chunks = list(chunks)
        self._ends = np.cumsum([*map(len, self.chunks)]).tolist()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(f"Texts[{place}]: there are {len(self)}")
        number = bisect_right(self._ends, place)
        return self.chunks[number][place - self._ends[number]].as_py()  # counted from the chunk's end

    def __iter__(self) -> Iterator[str]:
        for chunk in self.chunks:
            yield from chunk.to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Names:
    """Positions of things by the names that each of them has, in 16 bytes a name.

    Args:
        things: what has names.
        names_of: the names of one; it is called again for those whose names' hashes are equal.
    """

    def __init__(self, things: Sequence[str], names_of: Callable[[str], Iterable[Hashable]]) -> None:
        self._things, self._names_of = things, names_of
        hashes = np.empty(len(things), np.int64)
        places = np.empty(len(things), np.int64)
        count = 0
        for place, thing in enumerate(things):
            for name in names_of(thing):
                if count == len(hashes):
                    hashes, places = (np.resize(each, 2 * count + 1) for each in (hashes, places))
                hashes[count], places[count] = hash(name), place
                count += 1
        order = np.argsort(hashes[:count], kind="stable")
        self._hashes, self._places = hashes[order], places[order]

    def get(self, name: Hashable) -> list[int]:
        """Return the positions of what has a name, ascending."""
        wanted = hash(name)
        first = int(self._hashes.searchsorted(wanted))
        found = []
        for at in range(first, len(self._hashes)):
            if self._hashes[at] != wanted:
                break
            place = int(self._places[at])
            if name in self._names_of(self._things[place]):
                found.append(place)
        return found


def hashes(texts: pa.Array | pa.ChunkedArray) -> Ints:
    """Return numbers, ``[N]``, that are equal for equal texts, and hardly ever for others; 0 for null."""
    return np.fromiter((0 if text is None else hash(text) for text in texts.to_pylist()), np.int64, len(texts))
