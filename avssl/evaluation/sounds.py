"""Labelled sounds: files, or seconds of them, with the folds that published lists give."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avssl.catalog.listing import read_list
from avssl.catalog.matching import Places
from avssl.catalog.rows import Entry
from avssl.evaluation.lists import TRAINING
from avssl.evaluation.splits import Fold, Folds, stratified

Listed = tuple[str, Path, Entry]  # side, list and row


class SoundSplit(Protocol):
    """A way to say which recordings are trained on and tested, and what they show."""

    @property
    def allow_missing(self) -> float:
        """Share of the listed recordings that may be missing."""
        ...

    def entries(self) -> list[Listed]:
        """Read the lists; raise FileNotFoundError or ValueError if they aren't those of the protocol."""
        ...

    def folds(self, sides: Sequence[str]) -> tuple[Fold, ...]:
        """Return the folds of recordings of these sides."""
        ...


@dataclass(frozen=True)
class NumberedFolds:
    """Folds that a list numbers, each tested once, as ESC-50's (Piczak, ACM Multimedia 2015).

    Args:
        labels: the list, ``esc50.csv``.
        format: its format, see :func:`avssl.catalog.listing.read_list`.
        count: number of folds that it must have.
        allow_missing: share of the listed recordings that may be missing.
    """

    labels: Path
    format: str = "esc50"
    count: int = 5
    allow_missing: float = 0.0

    def entries(self) -> list[Listed]:  # noqa: D102
        found = [(entry.side or "", file, entry) for file, entry in read_list(self.labels, self.format)]
        numbers = sorted({side for side, _, _ in found})
        if len(numbers) != self.count:
            raise ValueError(
                f"{self.labels}: {len(numbers)} folds ({', '.join(numbers)}), but this protocol has "
                f"{self.count}. Give the data set's own list, or set split.init_args.count"
            )
        return found

    def folds(self, sides: Sequence[str]) -> tuple[Fold, ...]:  # noqa: D102
        return _each_tested(sides)


@dataclass(frozen=True)
class GroupedFolds:
    """Folds over a table of one's own, drawn so that groups (speakers, recordings) stay whole and classes balanced.

    Args:
        labels: the table, with columns ``path`` and ``label`` and optionally ``group``, without which each file is a
            group of its own.
        count: number of folds, each tested once.
        seed: seed of the division.
        allow_missing: share of the listed recordings that may be missing.
    """

    labels: Path
    count: int = 5
    seed: int = 0
    allow_missing: float = 0.0

    def entries(self) -> list[Listed]:  # noqa: D102
        rows = list(read_list(self.labels))
        labels = []
        for file, entry in rows:
            if not entry.labels or len(entry.labels) > 1:
                raise ValueError(f"{file}, line {entry.line}: {len(entry.labels or ())} classes; give one per file")
            labels.append(entry.labels[0])
        groups = [entry.group or entry.places[0].name for _, entry in rows]
        units = Counter(label for label, _ in set(zip(labels, groups, strict=True)))  # groups by class
        poor = sorted(label for label, count in units.items() if count < 2)
        if poor or len(set(groups)) < self.count:
            why = f"class {poor[0]!r} has one group" if poor else f"there are {len(set(groups))} groups"
            raise ValueError(
                f"{self.labels}: {why}, too few for {self.count} folds that keep groups whole. Add recordings of "
                "another group, leave the class out, or lower split.init_args.count"
            )
        parts = stratified(labels, groups, self.count, self.seed)
        return [(str(number), *rows[row]) for number, (_, tested) in enumerate(parts, start=1) for row in tested]

    def folds(self, sides: Sequence[str]) -> tuple[Fold, ...]:  # noqa: D102
        return _each_tested(sides)


@dataclass(frozen=True)
class TwoSides:
    """One split from two lists, or from one list given twice, whose own column says the side of each row.

    Args:
        train: list of the training recordings.
        test: list of the test recordings.
        format: their format, see :func:`avssl.catalog.listing.read_list`.
        names: class names by id, such as ``class_labels_indices.csv``; None keeps ids.
        allow_missing: share of the listed recordings of either side that may be missing; their number is reported.
    """

    train: Path
    test: Path
    format: str
    names: Path | None = None
    allow_missing: float = 0.0

    def entries(self) -> list[Listed]:  # noqa: D102
        columns = {} if self.names is None else {"names": str(self.names)}
        found: list[Listed] = []
        for side, path in (("train", self.train), ("test", self.test)):
            for file, entry in read_list(path, self.format, columns):
                if self.train != self.test:
                    found.append((side, file, entry))
                elif entry.side is None:
                    raise ValueError(
                        f"{file}, line {entry.line}: is of both sides, but doesn't say which. Give two lists"
                    )
                elif (entry.side in TRAINING) == (side == "train"):
                    found.append((side, file, entry))
        return found

    def folds(self, sides: Sequence[str]) -> tuple[Fold, ...]:  # noqa: D102
        marks = np.array(sides)
        return (Fold("split1", _places(marks == "train"), _places(marks == "test")),)


def _each_tested(sides: Sequence[str]) -> tuple[Fold, ...]:
    marks = np.array(sides)
    return tuple(
        Fold(f"fold{number}", _places(marks != number), _places(marks == number)) for number in np.unique(marks)
    )


def _places(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(chosen).tolist())


@dataclass(frozen=True)
class Sounds:
    """Labelled recordings.

    Attributes:
        root: their folder.
        places: file below it, first and last second (None for the whole file), each once.
        labels: class names of each.
        folds: who is trained on and tested.
        shared: number of test recordings that share a group with training ones in their fold.
        missing: number of listed recordings that aren't there.
    """

    root: Path
    places: tuple[tuple[str, float | None, float | None], ...]
    labels: tuple[tuple[str, ...], ...]
    folds: Folds
    shared: int
    missing: int

    @property
    def classes(self) -> list[str]:
        """Their names, sorted."""
        return sorted({name for names in self.labels for name in names})

    @property
    def one_each(self) -> bool:
        """Whether every recording shows exactly one class."""
        return all(len(names) == 1 for names in self.labels)

    def numbers(self) -> NDArray[np.signedinteger]:
        """Return classes ``[V]``; with several per recording ``[V, K]``: 1 shown, -1 not shown."""
        place = {name: number for number, name in enumerate(self.classes)}
        if self.one_each:
            return np.array([place[name] for (name,) in self.labels])
        shown = np.full((len(self.labels), len(place)), -1, dtype=np.int8)
        for row, names in enumerate(self.labels):
            shown[row, [place[name] for name in names]] = 1
        return shown


def gather(root: Path, split: SoundSplit) -> Sounds:
    """Find the recordings that a protocol's lists name below a folder.

    Raises:
        FileNotFoundError: if there is no such folder or list.
        ValueError: if a list is of another form, names recordings that are missing, has no classes, or has one
            recording twice; or a side is empty.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of sounds")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    there = Places(files, root)
    rows: dict[tuple[str, float | None, float | None], tuple[str, tuple[str, ...], str]] = {}
    absent: dict[str, list[str]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for side, file, entry in split.entries():
        counts[side] += 1
        try:
            found = there.find(entry)
        except ValueError as error:
            raise ValueError(f"{file}, line {entry.line}: {error}") from error
        if found is None:
            absent[side].append(entry.places[0].name)
            continue
        if entry.labels is None:
            raise ValueError(f"{file}, line {entry.line}: {entry.places[0].name} has no class")
        place, (position, *_) = found
        key = (files[position], place.start, place.stop)
        if key in rows and rows[key][0] != side:
            raise ValueError(f"{file}, line {entry.line}: {files[position]} is trained on and tested")
        rows[key] = (side, tuple(sorted(set(entry.labels))), entry.group or files[position])
    for side, names in absent.items():
        if len(names) > split.allow_missing * counts[side]:
            raise ValueError(
                f"{root}: {len(names)} of {counts[side]} listed recordings ({side}) are not there, first {names[:3]}. "
                f"Get them, or allow it with split.init_args.allow_missing (now {split.allow_missing})"
            )
    values = list(rows.values())
    groups = tuple(group for _, _, group in values)
    folds = Folds(split.folds([side for side, _, _ in values]), groups, official=True)
    for fold in folds.folds:
        if not fold.train or not fold.test:
            raise ValueError(f"split {fold.name}: {len(fold.train)} training and {len(fold.test)} test recordings")
    shared = sum(len(list(_shared(fold, groups))) for fold in folds.folds)
    return Sounds(
        root, tuple(rows), tuple(names for _, names, _ in values), folds, shared, sum(map(len, absent.values()))
    )


def _shared(fold: Fold, groups: Sequence[str]) -> Iterator[int]:
    trained = {groups[row] for row in fold.train}
    return (row for row in fold.test if groups[row] in trained)
