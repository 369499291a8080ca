"""The rows of a collection that the entries of an annotation list name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.listing import read_list
from avssl.catalog.manifest import Manifest
from avssl.catalog.matching import Places
from avssl.catalog.rows import Entry, Place


class Rows:
    """The rows of a collection, found by what a list says: its own id of the row, else its file and seconds."""

    def __init__(self, videos: Manifest) -> None:
        named, asked = videos.column("name").to_pylist(), videos.column("asked").to_pylist()
        self._named: dict[str, list[int]] = defaultdict(list)
        self._of: dict[str, list[int]] = defaultdict(list)
        for row, (name, path) in enumerate(zip(named, videos.paths(), strict=True)):
            self._of[path.as_posix()].append(row)
            if name is not None:
                self._named[name].append(row)
        self._asked = asked
        self._rows = list(self._of.values())
        self._places = Places(list(self._of))

    def find(self, file: Path, entry: Entry) -> list[int]:
        """Return the rows that an entry names: of a whole file all of its segments; none if there is no such row."""
        named = self._named.get(entry.name or "", [])
        if len(named) == 1:  # data sets may use one id for different rows
            return named
        try:
            found = self._places.find(entry)
        except ValueError as error:
            raise ValueError(f"{file}, line {entry.line}: {error}") from error
        if found is None:
            return []
        place, files = found
        return [row for number in files for row in self._rows[number] if self._within(row, place)]

    def _within(self, row: int, place: Place) -> bool:
        """Return whether a row is the segment that a name means."""
        asked = self._asked[row]
        return place.start is None or asked is None or asked == [place.start, place.stop]


def split_file(file: Path) -> Path:
    """Return a list's path; raise FileNotFoundError if there is none."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such split file. Download the official lists and give their folder")
    return file


def entries_of(file: Path, format: str) -> list[Entry]:
    """Read a list of a published format."""
    return [entry for _, entry in read_list(split_file(file), format)]


def positions(file: Path, entries: Sequence[Entry], rows: Rows, allow_missing: float = 0.0) -> tuple[int, ...]:
    """Return the positions of the videos of all entries.

    Raises:
        ValueError: if a larger share than ``allow_missing`` of them is not in the collection.
    """
    found = [(entry.places[0].name, rows.find(file, entry)) for entry in entries]
    missing = [name for name, places in found if not places]
    if len(missing) > allow_missing * len(entries):
        raise ValueError(
            f"{file}: {len(missing)} of {len(entries)} listed videos are not in the collection (or were rejected by "
            f"the index), first {missing[:3]}"
        )
    return tuple(place for _, places in found for place in places)
