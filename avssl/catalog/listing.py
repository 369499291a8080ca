"""Annotation lists: what they ask of which file, and which files of a collection these are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avssl.catalog.columns import detect, entries, settings_from
from avssl.catalog.formats import FORMATS
from avssl.catalog.matching import Places
from avssl.catalog.rows import Asked, Entry, Format, Settings, distinct

SHOWN = 3  # examples in a message
TABLE = Format(entries, mapped=True)


@dataclass(frozen=True)
class Matched:
    """What the lists ask of a collection's files.

    Attributes:
        asked: rows by position of the file; files that no list names are absent.
        missing: names in the lists without a file, once each, in order.
        rejected: rows that ask for nothing: where they are and why.
        num_rows: rows read.
        num_repeated: rows that say again what another one said.
        segments: whether a row asks for less than a whole file.
        notes: lines to tell the user.
    """

    asked: dict[int, list[Asked]]
    missing: list[str]
    rejected: list[str]
    num_rows: int
    num_repeated: int
    segments: bool
    notes: list[str]


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
        places, joined = Places(paths, root), _Joined(self)
        self.settings.told.clear()
        besides = {file: places.beside(file) for file in self.files}
        for file, entry in self:
            joined.num_rows += 1
            try:
                found = places.find(entry, besides[file])
                if found is None:
                    joined.missing[entry.places[0].name] = None
                else:
                    start, stop = found[0].start, found[0].stop
                    for position in found[1]:
                        group = entry.group
                        if self.spec.group_of is not None:
                            group = self.spec.group_of(root, paths[position]) or group
                        joined.add(file, entry, position, start, stop, group)
            except ValueError as error:
                raise ValueError(f"{file}, line {entry.line}: {error}") from error
        return joined.result(len(paths))


class _Joined:
    """Rows gathered by file."""

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self._rows: dict[tuple[int, float | None, float | None], list[tuple[Asked, Path, int]]] = {}
        self._names: set[str] = set()
        self._twice: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self.missing: dict[str, None] = {}
        self._rejected: list[str] = []
        self._segments = False
        self.num_rows = self._repeated = 0

    def add(
        self, file: Path, entry: Entry, position: int, start: float | None, stop: float | None, group: str | None
    ) -> None:
        self._segments |= start is not None
        if start is not None and stop is not None and (start < 0 or start >= stop):
            why = "before the file begins" if start < 0 else "it ends before it begins" if start > stop else "empty"
            self._rejected.append(
                f"{file}, line {entry.line}: {start:g} to {stop:g} s of {entry.places[0].name}: {why}"
            )
            return
        labels = None if entry.labels is None else distinct(entry.labels)
        name = entry.name
        asked = Asked(name, start, stop, labels, group, entry.view)
        rows = self._rows.setdefault((position, start, stop), [])
        if any(row[3:] == asked[3:] and (start is None or row.name == name) for row, _, _ in rows):
            self._repeated += 1
            return
        if rows and entry.joined:
            kept = rows[0][0]
            both = None if kept.labels is None and labels is None else distinct((kept.labels or ()) + (labels or ()))
            rows[0] = (kept._replace(labels=both), *rows[0][1:])
            return
        if rows and start is None:
            earlier, other, line = rows[0]
            where = f"line {line}" if other == file else f"{other}, line {line}"
            raise ValueError(
                f"{entry.places[0].name!r} was already given in {where} as {_shown(earlier)}; now it is {_shown(asked)}"
                ". For files of several classes, declare the column as `labels`"
            )
        if name is not None and name in self._names:
            self._twice[name] += 1
            asked = asked._replace(name=None)
        elif name is not None:
            self._names.add(name)
        if self._listed.spec.once and group is not None:
            self._sources[group] += 1
        rows.append((asked, file, entry.line))

    def result(self, num_paths: int) -> Matched:
        asked: dict[int, list[Asked]] = {}
        for (position, _, _), rows in self._rows.items():
            asked.setdefault(position, []).extend(row for row, _, _ in rows)
        for rows_of in asked.values():
            rows_of.sort(key=lambda row: (row.start or 0.0, row.stop or 0.0))
        missing = list(self.missing)
        return Matched(
            asked,
            missing,
            self._rejected,
            self.num_rows,
            self._repeated,
            self._segments,
            [*self._listed.settings.told, *self._told(asked, missing, num_paths)],
        )

    def _told(self, asked: Mapping[int, list[Asked]], missing: Sequence[str], num_paths: int) -> Iterator[str]:
        title = ", ".join(os.fspath(file) for file in self._listed.files[:SHOWN])
        title += f" and {len(self._listed.files) - SHOWN} more" if len(self._listed.files) > SHOWN else ""
        how = self._listed.format
        how += f", in {self._listed.settings.encoding}" if self._listed.settings.encoding else ""
        yield f"{title} (read as {how}): {self.num_rows} rows, {len(asked)} of {num_paths} files named"
        if missing:
            yield f"{len(missing)} listed files are not in the collection, such as {', '.join(missing[:SHOWN])}"
        if self._rejected:
            yield f"{len(self._rejected)} rows ask for nothing and are left out, such as {self._rejected[0]}"
        if self._repeated:
            yield f"{self._repeated} rows repeat an earlier one and are left out"
        if self._twice:
            shown = ", ".join(list(self._twice)[:SHOWN])
            yield f"{self._twice.total()} rows have the id of an earlier one, such as {shown}: they go without"
        several = [name for name, count in self._sources.items() if count > 1]
        if several:
            shown = ", ".join(several[:SHOWN])
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
