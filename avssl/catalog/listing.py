"""Annotation lists: what they ask of which file, and which files of a collection these are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from avssl.catalog.asked import AskedRows
from avssl.catalog.columns import detect, entries, settings_from
from avssl.catalog.compact import Texts
from avssl.catalog.formats import FORMATS
from avssl.catalog.joining import Conflict, Gathering
from avssl.catalog.matching import Places
from avssl.catalog.rows import Asked, Entry, Format, Settings

SHOWN = 3  # examples in a message
TABLE = Format(entries, mapped=True)


@dataclass(frozen=True)
class Matched:
    """What the lists ask of a collection's files.

    Attributes:
        found: rows of each file, sorted by their seconds; none for files that no list names.
        missing: names in the lists without a file, once each, in order.
        rejected: rows that ask for nothing: where they are and why.
        num_rows: rows read.
        num_repeated: rows that say again what another one said.
        segments: whether a row asks for less than a whole file.
        notes: lines to tell the user.
    """

    found: AskedRows
    missing: Texts
    rejected: list[str]
    num_rows: int
    num_repeated: int
    segments: bool
    notes: list[str]

    @cached_property
    def asked(self) -> dict[int, list[Asked]]:
        """Rows by position of the file; files that no list names are absent."""
        return {place: rows for place, rows in enumerate(self.found) if rows}


@dataclass(frozen=True)
class Listed:
    """Annotation lists of one format; iterating reads them again.

    Attributes:
        files: the lists.
        format: name of the format; ``"table"`` for a table with declared columns.
        settings: how they are read.
    """

    files: tuple[Path, ...]
    format: str
    settings: Settings = field(default_factory=Settings)

    @property
    def spec(self) -> Format:
        """How the format is read."""
        return FORMATS.get(self.format, TABLE)

    def __iter__(self) -> Iterator[tuple[Path, Entry]]:
        for file in self.files:
            for entry in self.spec.read(file, self.settings):
                yield file, entry

    def match(self, paths: Sequence[str], root: Path | None = None) -> Matched:
        """Find the files that the rows name.

        Args:
            paths: files of the collection relative to ``root``, with forward slashes; members of a tar are below its
                name.
            root: folder of the collection.

        Raises:
            FileNotFoundError: if a list doesn't exist.
            ValueError: if a list is malformed, a name fits several files, or a file is given two classes by rows of one
                class each.
        """
        places, rows = Places(paths, root), Gathering()
        self.settings.told.clear()
        for number, file in enumerate(self.files):
            beside = places.beside(file)
            for entry in self.spec.read(file, self.settings):
                rows.num_rows += 1
                try:
                    found = places.find(entry, beside)
                except ValueError as error:
                    raise ValueError(f"{file}, line {entry.line}: {error}") from error
                if found is None:
                    rows.lacks(entry.places[0].name)
                    continue
                place, positions = found
                for position in positions:
                    group = entry.group
                    if self.spec.group_of is not None:
                        group = self.spec.group_of(root, paths[position]) or group
                    rows.add(number, file, entry, position, (place.start, place.stop), group)
        del places
        groups: list[pa.ChunkedArray] = []
        try:
            asked = rows.finish(len(paths), groups.append if self.spec.once else None)
        except Conflict as error:
            raise self._conflict(error) from None
        missing = rows.missing()
        notes = [*self.settings.told, *self._told(rows, asked, missing, groups)]
        return Matched(asked, missing, rows.rejected, rows.num_rows, rows.repeated, rows.segments, notes)

    def _conflict(self, error: Conflict) -> ValueError:
        """Return the error that names both rows; the name is read again."""
        (earlier, one, first), (later, two, second) = error.earlier, error.later
        entries = self.spec.read(self.files[two], self.settings)
        name = next(entry.places[0].name for entry in entries if entry.line == second)
        where = f"line {first}" if one == two else f"{self.files[one]}, line {first}"
        return ValueError(
            f"{self.files[two]}, line {second}: {name!r} was already given in {where} as {_shown(earlier)}; now it is "
            f"{_shown(later)}. For files of several classes, declare the column as `labels`"
        )

    def _told(
        self, rows: Gathering, asked: AskedRows, missing: Sequence[str], groups: Sequence[pa.ChunkedArray]
    ) -> Iterator[str]:
        title = ", ".join(os.fspath(file) for file in self.files[:SHOWN])
        title += f" and {len(self.files) - SHOWN} more" if len(self.files) > SHOWN else ""
        how = self.format + (f", in {self.settings.encoding}" if self.settings.encoding else "")
        named = int((asked.counts > 0).sum())
        yield f"{title} (read as {how}): {rows.num_rows} rows, {named} of {len(asked)} files named"
        if missing:
            yield f"{len(missing)} listed files are not in the collection, such as {', '.join(missing[:SHOWN])}"
        if rows.rejected:
            yield f"{len(rows.rejected)} rows ask for nothing and are left out, such as {rows.rejected[0]}"
        if rows.repeated:
            yield f"{rows.repeated} rows repeat an earlier one and are left out"
        if rows.twice:
            shown = ", ".join(list(rows.twice)[:SHOWN])
            yield f"{sum(rows.twice.values())} rows have the id of an earlier one, such as {shown}: they go without"
        for group in groups:
            counted = group.drop_null().value_counts()
            several = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
            if len(several):
                shown = ", ".join(several[:SHOWN].to_pylist())
                yield f"{len(several)} recordings have several rows, such as {shown}: the rows of one are a group"


def _shown(asked: Asked) -> str:
    labels = "unlabelled" if asked.labels is None else " + ".join(asked.labels) or "none of the classes"
    return labels if asked.group is None else f"{labels} (group {asked.group})"


def read_list(
    path: str | Path | Sequence[str | Path],
    format: str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> Listed:
    """Open annotation lists, which are read when they are iterated over or matched.

    Args:
        path: one list or several of the same format; or the folder of a format that has many (``hmdb51``, ``ucf101``,
            ``lerobot_v3``, ``hf_videofolder``).
        format: name of a published format, optionally with an option (``"epic_kitchens:noun"``), see
            :data:`avssl.catalog.formats.FORMATS`; None for a table with a header that has the column ``path`` or those
            of one of the formats.
        columns: the list's own name of each column that is used: ``path`` and optionally ``start`` and ``stop`` (or
            ``duration``), ``label`` or ``labels``, ``group``, ``view`` and ``name``. It may also say how the list is
            written: ``unit`` (``s`` or ``ms``), ``separator`` of the labels in a field, ``names`` (files of class names
            by id), ``delimiter``, ``encoding``, and ``header=no`` (the columns are then called 1, 2, 3, ...).

    Raises:
        FileNotFoundError: if a list doesn't exist.
        ValueError: if there is no such format or column, or the columns don't tell the format.
    """
    settings = settings_from(columns or {})
    name, _, option = (format or "").partition(":")
    if format is not None and name not in FORMATS:
        raise ValueError(f"format={format}: there is no such format; there are {', '.join(sorted(FORMATS))}")
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    files = tuple(file for each in paths for file in _files(each, FORMATS.get(name, TABLE), name))
    if not files:
        raise ValueError("read_list: expected at least one list")
    if format is None:
        name = detect(files[0], settings, {name: spec.header for name, spec in FORMATS.items()}) or "table"
    spec = FORMATS.get(name, TABLE)
    if settings.columns and not spec.mapped:
        raise ValueError(f"format={name}: its columns are fixed; leave out {', '.join(settings.columns)}")
    if len(settings.names) > spec.num_names:
        raise ValueError(f"names: {len(settings.names)} files of class names given, but {name} takes {spec.num_names}")
    return Listed(files, name, settings_from(columns or {}, _option(name, option, spec)))


def _option(name: str, option: str, spec: Format) -> str:
    number = "#" in spec.options and option.replace(".", "", 1).isdigit() and float(option) > 0
    if option and option not in spec.options and not number:
        choices = [choice for choice in spec.options if choice]
        raise ValueError(f"format={name}:{option}: expected {name} alone or with one of {choices}")
    return option or next((choice for choice in spec.options if choice != "#"), "")


def _files(path: Path, spec: Format, name: str) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such list")
        return [path]
    if not spec.pattern:
        raise ValueError(f"{path}: a folder; give the list itself" + (f" of {name}" if name else ""))
    files = sorted(path.glob(spec.pattern))
    if not files:
        raise FileNotFoundError(f"{path}: no list of {name} ({spec.pattern}) in this folder")
    return files
