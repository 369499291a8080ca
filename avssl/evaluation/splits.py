"""Splits of a collection into training and test videos.

The folds of every split pass `check_folds`, which refuses to test on training videos.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from avssl.catalog.manifest import Manifest
from avssl.evaluation.classes import divide, one_each, presence


@dataclass(frozen=True)
class Fold:
    """One training set and one test set.

    Attributes:
        name: such as ``"seq03"`` or ``"split1"``.
        train: positions of the training videos in the collection.
        test: positions of the test videos.
        part: accuracies are averaged over the folds of a part, then over parts (the two sets of UT-Interaction).
        missing: number of listed files that the collection lacks.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    part: str = ""
    missing: int = 0


@dataclass(frozen=True)
class Folds:
    """The folds of a protocol.

    Attributes:
        folds: at least one.
        groups: unit of each video that must not be split (its source, its sequence).
        official: the folds come from a published list, so what is on both sides of one is reported, not refused.
        duplicates: pairs of videos on both sides of a fold that are of one group or file, or have the same content;
            filled by `check_folds`.
        novel: no class is on both sides of a fold, so that classifiers can't be trained before they are tested:
            for few-shot episodes.
        untrained: classes that a published list tests without training videos; filled by `check_folds`.
    """

    folds: tuple[Fold, ...]
    groups: tuple[str, ...]
    official: bool = False
    duplicates: tuple[tuple[str, str], ...] = ()
    novel: bool = False
    untrained: tuple[str, ...] = ()

    @property
    def rows(self) -> list[int]:
        """Positions of all videos in use."""
        return sorted({row for fold in self.folds for row in (*fold.train, *fold.test)})

    def spread(self, count: int | None) -> Folds:
        """Keep ``count`` of the folds, spread evenly over them; None keeps all."""
        count = min(count or len(self.folds), len(self.folds))
        return replace(self, folds=tuple(self.folds[place * len(self.folds) // count] for place in range(count)))


class Split(Protocol):
    """A way to divide a collection into folds."""

    def __call__(self, videos: Manifest) -> Folds:
        """Divide the usable videos of a collection; raise FileNotFoundError or ValueError if they don't fit."""
        ...


@dataclass(frozen=True)
class LeaveOneGroupOut:
    """Test on each group once, training on the other groups of the same part.

    ``(?P<part>set[12])_(?P<group>seq[0-9]+)`` gives the usual protocol of UT-Interaction (Ryoo & Aggarwal, ICPR 2010
    contest): ten folds in each of the two sets, accuracies averaged over the sets.

    Args:
        pattern: regular expression searched in the file name, with a named group ``group`` and optionally ``part``.
    """

    pattern: str

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        members: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        groups = []
        for index, path in enumerate(videos.paths()):
            found = search_group(self.pattern, path)
            part = found.groupdict().get("part") or ""
            members[part][found["group"]].append(index)
            groups.append(f"{part}/{found['group']}")
        folds = []
        for part, by_group in sorted(members.items()):
            if len(by_group) < 2:
                raise ValueError(
                    f"split: part {part!r} has the single group {next(iter(by_group))!r}: nothing is left to train on. "
                    f"Check the pattern {self.pattern!r}"
                )
            for group, test in sorted(by_group.items()):
                train = [index for other, rows in sorted(by_group.items()) if other != group for index in rows]
                folds.append(Fold(f"{part}/{group}" if part else group, tuple(train), tuple(test), part))
        return Folds(tuple(folds), tuple(groups))


@dataclass(frozen=True)
class GroupFolds:
    """Folds over any labelled collection that keep groups whole and classes balanced.

    Args:
        folds: number of folds.
        pattern: regular expression searched in the file name, whose named group ``group`` is the unit not to split;
            None takes the manifest's ``group`` column; where that is empty, each video is its own group.
        seed: seed of the division.
    """

    folds: int = 5
    pattern: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"GroupFolds: at least 2 folds, got {self.folds}")

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        labels = _labelled(videos, range(len(videos)), "split")
        groups = groups_of(videos, self.pattern)
        units: dict[str, set[str]] = defaultdict(set)
        for names, group in zip(labels, groups, strict=True):
            for name in names:
                units[name].add(group)
        poor = {name: len(found) for name, found in units.items() if len(found) < 2}
        if poor:
            name, count = next(iter(sorted(poor.items())))
            shown = sum(name in names for names in labels)
            raise ValueError(
                f"split: class {name!r} has {shown} video(s) in {count} group(s): it can't be both "
                f"trained on and tested. Add videos of another group or remove the class ({len(poor)} such class(es))"
            )
        if self.folds > len(set(groups)):
            raise ValueError(f"split: {len(set(groups))} group(s) can't make {self.folds} folds: lower split.folds")
        if one_each(videos, range(len(videos))):
            pairs = stratified([name for (name,) in labels], groups, self.folds, self.seed)
        else:
            parts = divide(presence(videos), np.unique(groups, return_inverse=True)[1], self.folds, self.seed)
            pairs = [(np.flatnonzero(parts != part), np.flatnonzero(parts == part)) for part in range(self.folds)]
        sides = [(tuple(train.tolist()), tuple(test.tolist())) for train, test in pairs]
        return Folds(tuple(Fold(f"fold{number}", *both) for number, both in enumerate(sides, start=1)), groups)


def stratified(
    labels: Sequence[str], groups: Sequence[str], folds: int, seed: int
) -> list[tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]]:
    """Divide rows of one class each into folds that keep groups whole and classes balanced.

    Returns:
        The rows to train on and those to test, for each fold.
    """
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # two groups of it are enough
        return list(splitter.split(np.zeros(len(labels)), labels, groups))


@dataclass(frozen=True)
class TrainTest:
    """Train on the first videos of a collection and test on the others.

    Args:
        train: number of training videos.
    """

    train: int

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        fold = Fold("test", tuple(range(self.train)), tuple(range(self.train, len(videos))))
        return Folds((fold,), groups_of(videos, None))


def check_folds(folds: Folds, videos: Manifest) -> Folds:
    """Refuse folds that test on training videos, or test a class without training videos.

    Published lists may have these, as EPIC-KITCHENS has nouns that are only tested: they are reported.

    Raises:
        ValueError: if a file, segments of one file, a group or an exact duplicate is on both sides (names both), a
            class is tested without training videos (names it) or, with novel classes, is on both sides; or a video is
            not annotated; gives the remedy.
    """
    untrained: set[str] = set()
    for fold in folds.folds:
        labels = _labelled(videos, (*fold.train, *fold.test), f"split {fold.name}")
        sides = labels[: len(fold.train)], labels[len(fold.train) :]
        trained, tested = (Counter(name for names in side for name in names) for side in sides)
        if folds.novel:
            for name in sorted(tested.keys() & trained.keys()):
                raise ValueError(
                    f"split {fold.name}: class {name!r} is on both sides, with {trained[name]} and {tested[name]} "
                    "videos, but novel classes have no other videos. Give the lists of one few-shot split"
                )
            continue
        lacking = sorted(tested.keys() - trained.keys())
        if folds.official and trained.keys() & tested.keys():
            untrained |= set(lacking)
            continue
        for name in lacking:
            raise ValueError(
                f"split {fold.name}: class {name!r} has {tested[name]} test video(s) and none to train on. "
                "Add videos of it in another group, or remove the class"
            )
    return replace(check_apart(folds, videos), untrained=tuple(sorted(untrained)))


def _labelled(videos: Manifest, rows: Sequence[int], place: str) -> list[list[str]]:
    """Return the class names of each of these videos, an empty list for none; refuse one that is not annotated."""
    labels = videos.column("labels").take(pa.array(rows, pa.int64())).to_pylist()
    missing = [row for row, names in zip(rows, labels, strict=True) if names is None]
    if missing:
        raise ValueError(
            f"{place}: {videos.paths()[missing[0]]} has no label ({len(missing)} such videos). "
            "Index the collection with the list of its classes (avssl index --labels)"
        )
    return labels


def check_apart(folds: Folds, videos: Manifest) -> Folds:
    """Refuse folds that test on training videos, like `check_folds`, but without labels."""
    contents = [None if content and ":" in content else content for content in videos.column("content").to_pylist()]
    paths = videos.paths()
    same = ((paths, "are of one file"), (contents, "have the same content"))  # a prefix: no proof of equality
    itself = [*zip(paths, videos.column("start").to_pylist(), strict=True)]
    duplicates: set[tuple[str, str]] = set()
    for fold in folds.folds:
        if not fold.train or not fold.test:
            raise ValueError(f"split {fold.name}: {len(fold.train)} training and {len(fold.test)} test videos")
        if twice := _shared(fold, itself):
            why = f"{_name(videos, twice[0][0])} is on both sides ({len(twice)} such videos)"
            raise ValueError(f"split {fold.name}: {why}. Put it on one side")
        shared = _shared(fold, folds.groups)
        if folds.official:
            duplicates |= {(_name(videos, first), _name(videos, second)) for first, second in shared}
        elif shared:
            first, second = (_name(videos, row) for row in shared[0])
            raise ValueError(
                f"split {fold.name}: group {folds.groups[shared[0][0]]!r} is on both sides: {first} in training, "
                f"{second} in test. Put the whole group on one side"
            )
        for values, why in same:
            for pair in _shared(fold, values):
                first, second = (_name(videos, row) for row in pair)
                duplicates.add((first, second))
                if not folds.official:
                    raise ValueError(
                        f"split {fold.name}: {first} in training and {second} in test {why}. "
                        "Remove one of them, or give both the same group"
                    )
    return replace(folds, duplicates=tuple(sorted(duplicates)))


def _name(videos: Manifest, row: int) -> str:
    """Return the path of a video, and the seconds of a segment."""
    one = videos.select([row])
    asked, start, duration = (one.column(name)[0].as_py() for name in ("asked", "start", "duration"))
    seconds = "" if asked is None else f" ({start or 0.0:g} to {(start or 0.0) + duration:g} s)"
    return f"{one.paths()[0]}{seconds}"


def _shared(fold: Fold, values: Sequence[Any]) -> list[tuple[int, int]]:
    """Return pairs of a training and a test video with the same value."""
    first = {values[index]: index for index in fold.train if values[index] is not None}
    return [(first[values[index]], index) for index in fold.test if values[index] in first]


def groups_of(videos: Manifest, pattern: str | None) -> tuple[str, ...]:
    """Return the group of each video: by pattern in the file name, else from the manifest, else the file itself."""
    if pattern is not None:
        return tuple(search_group(pattern, path)["group"] for path in videos.paths())
    named = videos.column("group").to_pylist()
    return tuple(group or str(path) for group, path in zip(named, videos.paths(), strict=True))


def search_group(pattern: str, path: Path) -> re.Match[str]:
    """Search a file name for a pattern with a group called ``group``; raise ValueError if it is not found."""
    found = re.search(pattern, path.name)
    if found is None or "group" not in found.groupdict():
        raise ValueError(f"split: the pattern {pattern!r} finds no (?P<group>...) in the file name of {path}")
    return found
