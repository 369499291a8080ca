"""What one row of an annotation list says: which file, which seconds of it, and what is shown there."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, NamedTuple

UNITS = {"s": Decimal(1), "ms": Decimal("0.001")}


class Asked(NamedTuple):
    """What a list asks of a file: all of it, or a segment.

    Attributes:
        name: the list's own id of the row; None if it has none.
        start: first second of the segment; None for the whole file.
        stop: its end; None for the whole file.
        labels: sorted class names; empty if none of the classes is shown, None if nobody looked.
        group: unit that must not be split between training and test.
        view: camera.
    """

    name: str | None = None
    start: float | None = None
    stop: float | None = None
    labels: tuple[str, ...] | None = None
    group: str | None = None
    view: str | None = None


class Place(NamedTuple):
    """A name that the file of a row may have, and the seconds that the row means if it has it."""

    name: str
    start: float | None = None
    stop: float | None = None


class Entry(NamedTuple):
    """A row of a list.

    Attributes:
        line: where it is in the list; the number of the record in JSON and Parquet.
        places: names of its file, best first.
        labels: as in :class:`Asked`, in any order.
        group: as in :class:`Asked`.
        view: as in :class:`Asked`.
        name: as in :class:`Asked`.
        hints: folders that decide between several files of one name (the class, the side of a split).
        kind: ``"file"``, or what the name stands for: all files in a ``"folder"``, of a webdataset ``"key"``, or all
            ``"clips"`` (``NAME_00000``) cut from one recording.
        joined: rows of the same seconds of the same file are one row with the classes of all.
        side: side of a split, as the list has it.
    """

    line: int
    places: tuple[Place, ...]
    labels: tuple[str, ...] | None = None
    group: str | None = None
    view: str | None = None
    name: str | None = None
    hints: tuple[str, ...] = ()
    kind: str = "file"
    joined: bool = False
    side: str | None = None


@dataclass(frozen=True)
class Settings:
    """How a list is to be read.

    Attributes:
        columns: the list's name of a column by ours (``path``, ``start``, ``stop``, ``duration``, ``label``,
            ``labels``, ``group``, ``view``, ``name``).
        option: what follows the colon in the format's name.
        names: class names by class id, one mapping per names file.
        unit: of the times that are plain numbers, ``s`` or ``ms``.
        separator: between the class names in one field; empty if a field has one.
        delimiter: between fields; empty to find out.
        encoding: of the text; empty for UTF-8, or UTF-16 if it says so.
        header: whether the first row names the columns; otherwise they are called 1, 2, 3, ...
        told: lines for the user, added while the list is read.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    option: str = ""
    names: tuple[Mapping[str, str], ...] = ()
    unit: str = "s"
    separator: str = ""
    delimiter: str = ""
    encoding: str = ""
    header: bool = True
    told: list[str] = field(default_factory=list)

    def class_name(self, label: Any, number: int = 0) -> str:
        """Return the name of a class id from a names file (the ``number``-th); the id itself if none was given.

        Raises:
            ValueError: if the file doesn't have it.
        """
        label = clean(label)
        if not self.names:
            return label
        known = self.names[number]
        if label not in known:
            raise ValueError(f"class {label!r} is not in the names file, which has {list(known)[:5]}, ...")
        return known[label]


@dataclass(frozen=True)
class Format:
    """A way to read lists.

    Attributes:
        read: yields the rows of one file.
        options: what may follow the format's name after a colon, the default first; ``"#"`` is any number.
        header: columns by which a table without a declared format is recognised; empty for none.
        pattern: the lists in a folder that is given instead of a list.
        default: the same for the collection itself; empty if the list must be given.
        once: a recording is expected in one row; others are told.
        group_of: finds a file's group from the collection's folder and the file's path.
        mapped: declared columns may take the place of the format's own.
        num_names: how many names files it takes at most.
    """

    read: Callable[[Path, Settings], Iterator[Entry]]
    options: tuple[str, ...] = ("",)
    header: frozenset[str] = frozenset()
    pattern: str = ""
    default: str = ""
    once: bool = False
    group_of: Callable[[Path | None, str], str | None] | None = None
    mapped: bool = False
    num_names: int = 1


@contextmanager
def at_line(path: Path, line: int) -> Iterator[None]:
    """Add the list and the line to an error about a row, and name a field that the row lacks."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        why = f"it has no field {error}" if isinstance(error, KeyError) else f"a field of another kind: {error}"
        raise ValueError(f"{path}, line {line}: not of the declared format: {why}") from error


def clean(value: Any) -> str:
    """Return a name without blanks around it, composed as Unicode's NFC."""
    text = str(value).strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def distinct(labels: Iterable[str]) -> tuple[str, ...]:
    """Sort class names and drop repeated ones."""
    return tuple(sorted(set(labels)))


def seconds(value: Any, unit: str = "s") -> float:
    """Read a time: a number in a unit, or ``[HH:]MM:SS.fff``; exact to the last bit of a float64.

    Raises:
        ValueError: if it is neither, or not finite.
    """
    try:
        if isinstance(value, str) and ":" in value:
            parts = value.strip().split(":")
            if len(parts) > 3:
                raise ValueError
            total = Decimal(0)
            for part in parts:
                total = total * 60 + Decimal(part)
            found = float(total)
        elif unit == "s":
            found = float(value)
        else:
            found = float(Decimal(str(value).strip()) * UNITS[unit])
    except (InvalidOperation, ValueError, TypeError) as error:
        raise ValueError(f"{value!r} is no time; expected a number or HH:MM:SS.fff") from error
    if not math.isfinite(found):
        raise ValueError(f"{value!r} is no time; expected a finite number")
    return found
