"""Index of a collection of videos: one memory-mapped Arrow table, one row per recording or segment."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from avssl.catalog.streams import convert, release
from avssl.catalog.table import (
    FURTHER,
    IDENTITY,
    SCHEMA,
    canonical,
    fingerprint,
    info_from_row,
    keys_of,
    normalised,
    only_label,
    path_of,
    tables_of,
    write_arrow,
)
from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo
from avssl.runtime.files import user_cache, write_atomically

DAYS_KEPT = 7  # a current run may still use an outdated memory-mapped copy
LARGE = 64 << 20  # bytes; pages of larger mapped files are not kept in a process
READ = [name for name in SCHEMA.names if name not in {"status", "reason", "content", "reader", "asked"}]
READS_KEPT = 4  # rows read before their pages are released; a row maps a few MB at worst


class Rejected(NamedTuple):
    """A file that can't be used; ``reason`` is ``"code: why"``."""

    path: Path
    reason: str


class Manifest:
    """The videos of a collection; ``len`` and indexing cover those that can be used.

    A manifest is stored as a Parquet file. It is read through an uncompressed copy in the user's cache, made when it is
    first opened and memory-mapped from then on, so that opening takes no time and processes share the memory.
    Pickling sends the path of that copy (and the selection), not the rows.
    """

    def __init__(
        self, table: pa.Table, base: Path, origin: tuple[Callable[..., Manifest], tuple[Any, ...]] | None = None
    ) -> None:
        """Wrap a table as made by :func:`canonical`; users call :meth:`open`, :meth:`from_rows` or :meth:`concat`."""
        facts = json.loads(table.schema.metadata[b"avssl"])
        self.classes: list[str] = facts["classes"]
        self._table, self._base, self._usable, self._facts = table, base, facts["usable"], facts
        self._rows: np.ndarray | None = None  # [N] int64 positions in the table; None for all usable ones
        self._maps: list[mmap.mmap] = []  # their pages are released by __getitem__
        self._reads = 0
        self._origin = origin or (Manifest, (table, base))

    @classmethod
    def open(cls, path: str | Path) -> Manifest:
        """Open a manifest written by :meth:`write`, ``avssl index`` or ``avssl prepare``.

        Args:
            path: a ``.parquet`` file, or an ``.arrow`` file (Arrow IPC, uncompressed), which is mapped directly.

        Raises:
            FileNotFoundError: if there is no such file.
            MediaError: if it isn't a manifest.
        """
        path = Path(os.path.abspath(path))
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such manifest. Make one with `avssl index ROOT -o {path}`")
        if path.suffix == ".arrow":
            return cls._map(path, path.parent)
        facts = path.stat()
        stem = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
        copy = user_cache() / "manifests" / f"{stem}-{facts.st_size}-{facts.st_mtime_ns}.2.arrow"  # 2: the schema
        if not copy.exists():
            try:
                write_atomically(copy, lambda file: _converted(path, file))
            except pa.ArrowInvalid as error:
                why = f"not a complete Parquet file ({error})"
                raise MediaError(path, "manifest", why, "Make it again with `avssl index`.") from error
            for other in copy.parent.glob(f"{stem}-*.arrow"):
                if other != copy and other.stat().st_mtime < time.time() - DAYS_KEPT * 86400:
                    other.unlink()
        return cls._map(copy, path.parent)

    @classmethod
    def _map(cls, path: Path, base: Path) -> Manifest:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = pa.ipc.open_file(pa.py_buffer(mapped)).read_all()
        if b"avssl" not in (table.schema.metadata or {}):
            table = canonical(table, path)
        manifest = cls(normalised(table), base, origin=(cls._map, (path, base)))
        manifest._maps = [mapped] if len(mapped) > LARGE and hasattr(mapped, "madvise") else []  # not on Windows
        return manifest

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], base: str | Path = ".") -> Manifest:
        """Make a manifest in memory from one mapping per row, with columns of ``SCHEMA``; missing ones are null.

        A relative ``root`` starts from the folder ``base``, and ``label`` is short for ``labels`` of at most one class.

        Raises:
            ValueError: for an unknown column.
        """
        tables = [*tables_of(rows)] or [SCHEMA.empty_table()]
        base = Path(os.path.abspath(base))
        return cls(canonical(pa.concat_tables(tables), base), base)

    @classmethod
    def concat(cls, parts: Sequence[Manifest]) -> Manifest:
        """Join manifests in the order given; their class names are merged. No row is copied."""
        if not parts:
            raise ValueError("Manifest.concat: expected at least one manifest, got none")
        tables = [part._with_absolute_roots() for part in parts]
        usable = [table.slice(0, part._usable) for table, part in zip(tables, parts, strict=True)]
        rejected = [table.slice(part._usable) for table, part in zip(tables, parts, strict=True)]
        starts = np.cumsum([0] + [part._usable for part in parts])
        facts = {"usable": int(starts[-1]), "classes": sorted({name for part in parts for name in part.classes})}
        table = pa.concat_tables(usable + rejected).replace_schema_metadata({b"avssl": json.dumps(facts).encode()})
        whole = cls(table, Path("/"), origin=(cls.concat, (list(parts),)))
        whole._maps = [mapped for part in parts for mapped in part._maps]
        if any(part._rows is not None for part in parts):
            moved = [part._positions() + start for part, start in zip(parts, starts, strict=False)]
            whole._rows = np.concatenate(moved)
        return whole

    def __reduce__(self) -> tuple[Callable[..., Manifest], tuple[Any, ...]]:
        return self._origin

    def __len__(self) -> int:
        return self._usable if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> VideoInfo:
        if not -len(self) <= index < len(self):
            raise IndexError(f"Manifest[{index}]: there are {len(self)} usable videos")
        index %= len(self)
        self._reads += 1
        if self._reads % READS_KEPT == 0:
            self.release()
        position = index if self._rows is None else int(self._rows[index])
        starts, batches = self._batches
        number = int(np.searchsorted(starts, position, "right")) - 1
        place = position - int(starts[number])
        row = {name: column[place].as_py() for name, column in zip(READ, batches[number], strict=True)}
        return info_from_row(row, self._base / row["root"], self._numbers)

    def release(self) -> None:
        """Keep no pages of large mapped files in this process; they are read again when they are looked at."""
        for mapped in self._maps:
            release(mapped)

    def __iter__(self) -> Iterator[VideoInfo]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    @cached_property
    def _batches(self) -> tuple[np.ndarray, list[list[pa.Array]]]:
        """The position of the first row of each record batch, and the columns of each that a recording has."""
        batches = self._table.select(READ).to_batches()
        return np.cumsum([0] + [batch.num_rows for batch in batches[:-1]]), [batch.columns for batch in batches]

    def _positions(self) -> np.ndarray:
        return np.arange(self._usable) if self._rows is None else self._rows

    def _with_absolute_roots(self) -> pa.Table:
        chunks = [
            pa.DictionaryArray.from_arrays(
                chunk.indices,
                pa.array([os.fspath(self._base / root.as_py()) for root in chunk.dictionary], pa.string()),
            )
            for chunk in self._table.column("root").chunks
        ]
        roots = pa.chunked_array(chunks, type=SCHEMA.field("root").type)
        return self._table.set_column(self._table.schema.get_field_index("root"), SCHEMA.field("root"), roots)

    def select(self, indices: Sequence[int] | np.ndarray | Tensor) -> Manifest:
        """Select usable videos by their ``[N]`` positions in this manifest; class numbers stay the same.

        Raises:
            IndexError: for a position that doesn't exist.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(self)):
            positions = f"positions {chosen.min()} to {chosen.max()}"
            raise IndexError(f"Manifest.select: {positions} of {len(self)} usable videos")
        view = Manifest(self._table, self._base, origin=(Manifest.select, (self, chosen)))
        view._maps = self._maps
        view._rows = self._positions()[chosen]
        return view

    def column(self, name: str, rejected: bool = False) -> pa.ChunkedArray:
        """Return a column of the usable videos, in order: the mapped memory itself, but a copy for a selection.

        ``label`` is the class of those that have exactly one, else null. With ``rejected``, the rejected files of the
        whole collection follow.

        Raises:
            KeyError: if ``SCHEMA`` has no such column.
        """
        if name == "label":
            return only_label(self.column("labels", rejected))
        if name not in SCHEMA.names:
            raise KeyError(f"Manifest.column({name!r}): there is no such column; there are {SCHEMA.names}")
        column = self._table.column(name)
        if self._rows is not None:
            chosen = np.arange(self._usable, len(column)) if rejected else np.zeros(0, np.int64)
            column = column.take(pa.array(np.concatenate([self._rows, chosen])))
        elif not rejected:
            column = column.slice(0, self._usable)
        return column

    @property
    def keys(self) -> pa.Array:
        """Each usable row's path below its root, ``[N]``; of a member, as if its archive were a folder."""
        return keys_of(pa.table({name: self.column(name) for name in ("path", "member")}))

    def units(self) -> pa.Array:
        """Return the name of what must not be split, ``[N]``: the group, or without one the file.

        Where several rows are segments of one file, all groups that share a file are one unit.
        """
        keys = self.keys
        group = pa.chunked_array(self.column("group").chunks, pa.string()).cast(pa.large_string()).combine_chunks()
        names = pc.coalesce(group, keys)
        if self.column("asked").null_count == len(self):
            return names
        encoded = [each.dictionary_encode() for each in (names, keys)]
        rows, files = (each.indices.to_numpy() for each in encoded)
        sizes = [len(each.dictionary) for each in encoded]
        graph = coo_array((np.ones(len(rows), bool), (rows, files + sizes[0])), shape=(sum(sizes), sum(sizes)))
        part = connected_components(graph, directed=False)[1][: sizes[0]]  # of each name
        first = np.unique(part, return_index=True)[1]  # the first name of each part
        return encoded[0].dictionary.take(pa.array(first[part[rows]]))

    def paths(self) -> list[Path]:
        """Return the path of every usable row, as `VideoInfo.path` has it."""
        names = ["root", "store", "path", "member"]
        rows = zip(*(self.column(name).to_pylist() for name in names), strict=True)
        return [path_of(dict(zip(names, row, strict=True)), self._base / row[0]) for row in rows]

    @property
    def roots(self) -> list[Path]:
        """Local root folders of the videos."""
        local = self.column("root").filter(self.column("store").is_null())
        return [self._base / root for root in local.unique().to_pylist()]

    @property
    def rejected(self) -> list[Rejected]:
        """Files of the whole collection that can't be used."""
        return [
            Rejected(path_of(row, self._base / row["root"]), row["reason"])
            for row in self._table.slice(self._usable).select(["root", "store", "path", "member", "reason"]).to_pylist()
        ]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the videos' relative paths, contents and annotations, in order; the root folder doesn't count."""
        stored = self._facts.get("fingerprint")
        if self._rows is None and stored is not None:
            return stored
        names = [name for name in SCHEMA.names if name in {*IDENTITY, *FURTHER, "asked"}]
        return fingerprint(pa.table({name: self.column(name) for name in names}))

    @property
    def facts(self) -> dict[str, Any]:
        """What is stored with the table: classes, fingerprint and, of an index, the digest of its ``inputs``."""
        return self._facts

    def table(self, rejected: bool) -> pa.Table:
        """Return the rows of the whole collection, usable ones first, and the rejected ones if asked for."""
        return self._table if rejected else self._table.slice(0, self._usable)

    def _chosen(self) -> pa.Table:
        return self._table if self._rows is None else self._table.take(pa.array(self._rows))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return all rows (of a selection, the selected ones; otherwise rejected ones too) for :meth:`from_rows`."""
        return self._chosen().to_pylist()

    def write(self, path: str | Path) -> None:
        """Write a Parquet file atomically. Of a selection, the selected rows and all class names are written."""
        facts = self._facts if self._rows is None else {}
        facts = {**facts, "usable": len(self), "classes": self.classes, "fingerprint": self.fingerprint}
        table = self._chosen().replace_schema_metadata({b"avssl": json.dumps(facts).encode()})
        write_atomically(Path(path), lambda file: pq.write_table(table, file, compression="zstd"))


def _converted(path: Path, file: IO[bytes]) -> None:
    """Write a Parquet manifest for memory mapping; one that isn't in order is put in order in memory."""
    if not convert(path, file):
        table = pq.read_table(path)
        facts = (pq.read_metadata(path).metadata or {}).get(b"avssl")
        table = table.replace_schema_metadata(facts and {b"avssl": facts})
        file.seek(0)
        file.truncate()
        write_arrow(canonical(table, path), file)
