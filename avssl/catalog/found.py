"""The recordings of a collection and where each one's bytes are, in columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.asked import AskedRows
from avssl.catalog.compact import TOGETHER, Batches, Builder, Ints, Texts
from avssl.catalog.rows import Asked
from avssl.catalog.table import keys_of
from avssl.media.places import Place
from avssl.media.source import Source, below

ARCHIVES = frozenset({".tar"})
TABLES = frozenset({".parquet"})  # which may hold recordings


class Found(NamedTuple):
    """A recording: a file, or a part of one, or an object in a store; the columns of a manifest that say where it is.

    ``path`` is relative to the root, with forward slashes; the other fields are described in `avssl.catalog.table`.
    """

    path: str
    size_bytes: int
    mtime_ns: int | None = None
    store: str | None = None
    member: str | None = None
    offset: int | None = None
    bytes: int | None = None
    etag: str | None = None

    @property
    def key(self) -> str:
        """The path, with the member as if the archive were a folder."""
        return self.path if self.member is None else f"{self.path}/{self.member}"

    def place(self, root: Path | Place) -> Path | Source:
        """Return the file below a local folder, or where its bytes are.

        Raises:
            SourceError: ``key`` for an archive that a link leads out of the folder.
        """
        suffix = suffix_of(self.path)
        whole = self.member is None and suffix not in ARCHIVES | TABLES
        if isinstance(root, Path) and whole:
            return root / self.path
        return Source(
            path=below(root, self.path) if isinstance(root, Path) else self.path,
            store=self.store or "",
            member=self.member or "",
            offset=self.offset or 0,
            num_bytes=self.size_bytes if self.bytes is None else self.bytes,
            size_bytes=self.size_bytes,
            mtime_ns=None if self.member and suffix in ARCHIVES else self.mtime_ns,
            etag=self.etag or "",
        )


TEXT, NUMBER = pa.string(), pa.int64()
FOUND = pa.schema(zip(Found._fields, [TEXT, NUMBER, NUMBER, TEXT, TEXT, NUMBER, NUMBER, TEXT], strict=True))


class Files(Sequence[Found]):
    """The recordings of a collection, in order."""

    def __init__(self, rows: Batches) -> None:
        self.rows = rows

    @classmethod
    def of(cls, every: Iterable[Found]) -> Files:
        """Gather recordings in the order given."""
        builder = Builder(FOUND)
        for each in every:
            builder.add(each)
        return cls(builder.build())

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Found: ...
    @overload
    def __getitem__(self, place: slice) -> list[Found]: ...
    def __getitem__(self, place: int | slice) -> Found | list[Found]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(f"Files[{place}]: there are {len(self)}")
        return Found._make(self.rows.row(place))

    def __iter__(self) -> Iterator[Found]:
        return map(Found._make, self.rows.rows())

    def sorted(self) -> Files:
        """Sort by path."""
        order = pc.sort_indices(self.rows.column("path")).to_numpy().astype(np.int64)
        return self.select(order)

    def select(self, places: Ints) -> Files:
        """Return the recordings at ``[N]`` different places."""
        if len(places) == len(self) and (np.diff(places) > 0).all():
            return self
        parts = (self.rows.take(places[start : start + TOGETHER]) for start in range(0, len(places), TOGETHER))
        return Files(Batches([batch for part in parts for batch in part.to_batches()], FOUND))

    def with_suffix(self, suffixes: frozenset[str]) -> Ints:
        """Return the places of those whose file has one of some suffixes."""
        numbers, kinds = self._suffixes
        return np.flatnonzero(np.isin(kinds, [number for suffix, number in numbers.items() if suffix in suffixes]))

    @cached_property
    def _suffixes(self) -> tuple[dict[str, int], NDArray[np.int32]]:
        """Number the suffixes, and give each one's."""
        numbers: dict[str, int] = {}
        paths = Texts(self.rows.column("path").chunks)
        kinds = (numbers.setdefault(suffix_of(path), len(numbers)) for path in paths)
        return numbers, np.fromiter(kinds, np.int32, len(paths))

    @cached_property
    def keys(self) -> Texts:
        """Path of each, with the member as if the archive were a folder."""
        whole = [pa.types.is_null(batch.column("member").type) for batch in self.rows.batches]  # no copies of paths
        paths, parts = self.rows.column("path").chunks, self.rows.columns(["path", "member"])
        return Texts([path if own else keys_of(part) for own, path, part in zip(whole, paths, parts, strict=True)])


class Said(Sequence[Asked | None]):
    """What archives say of each recording; None if nothing."""

    def __init__(self, rows: AskedRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Asked | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[Asked | None]: ...
    def __getitem__(self, place: int | slice) -> Asked | list[Asked | None] | None:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return next(iter(self._rows[place]), None)

    def __iter__(self) -> Iterator[Asked | None]:
        return (next(iter(rows), None) for rows in self._rows)


def suffix_of(path: str) -> str:
    """Return the suffix of a path in lower case, with its dot."""
    return os.path.splitext(path)[1].lower()
