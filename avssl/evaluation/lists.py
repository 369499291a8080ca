"""Published splits and labels of data sets, read from their own list files."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.evaluation.splits import Fold, Folds, TrainTest, check_apart, groups_of, search_group


@dataclass(frozen=True)
class UCF101Lists:
    """The three official splits of UCF101 (Soomro et al., 2012).

    Args:
        lists: folder with ``trainlist01.txt``, ``testlist01.txt``, ... (``Class/v_Class_g01_c01.avi [number]``).
        splits: numbers of the splits to use.
    """

    lists: Path
    splits: tuple[int, ...] = (1, 2, 3)

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        known = {(path.parent.name, path.name): index for index, path in enumerate(videos.paths())}
        groups = [f"{path.parent.name}/{search_group(r'_g(?P<group>[0-9]+)_', path)[1]}" for path in videos.paths()]
        folds = []
        for number in self.splits:
            train, test = (self._side(f"{side}list{number:02d}.txt", known) for side in ("train", "test"))
            folds.append(Fold(f"split{number}", train, test))
        return Folds(tuple(folds), tuple(groups), official=True)

    def _side(self, name: str, known: Mapping[tuple[str, str], int]) -> tuple[int, ...]:
        names = [line.split()[0].split("/") for line in _lines(self.lists / name)]
        return _positions(self.lists / name, [(parts[-2], parts[-1]) for parts in names], known)


@dataclass(frozen=True)
class HMDB51Lists:
    """The three official splits of HMDB51 (Kuehne et al., ICCV 2011).

    Args:
        lists: folder with ``<class>_test_split<1..3>.txt`` (``name.avi 0|1|2``: unused, train, test).
        splits: numbers of the splits to use.
    """

    lists: Path
    splits: tuple[int, ...] = (1, 2, 3)

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        known = {(path.parent.name, path.name): index for index, path in enumerate(videos.paths())}
        folds = []
        for number in self.splits:
            sides: dict[str, list[int]] = {"1": [], "2": []}
            for name in videos.classes:
                file = self.lists / f"{name}_test_split{number}.txt"
                rows = [line.split() for line in _lines(file)]
                for side, kept in sides.items():
                    kept += _positions(file, [(name, row[0]) for row in rows if row[1] == side], known)
            folds.append(Fold(f"split{number}", tuple(sides["1"]), tuple(sides["2"])))
        return Folds(tuple(folds), groups_of(videos, None), official=True)


class CSVLists:
    """One split from CSV files, as published with Kinetics.

    A row names its video by ``path`` (its last parts) or by ``youtube_id, time_start, time_end`` (the file is then
    called ``<id>_<start, 6 digits>_<end, 6 digits>`` or ``<id>``). A ``group`` column is used.

    Args:
        train: CSV file of the training videos.
        test: CSV file of the test videos.
        allow_missing: share of the listed videos that may be missing; their number is reported.
    """

    def __init__(self, train: Path, test: Path, allow_missing: float = 0.0) -> None:
        self.files = (Path(train), Path(test))
        self.allow_missing = allow_missing

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        groups = list(groups_of(videos, None))
        sides: list[tuple[int, ...]] = []
        missing = 0
        for file in self.files:
            rows = _rows(file)
            found = _row_positions(file, rows, videos.paths())
            absent = [row.get("path") or row["youtube_id"] for row, place in found if place is None]
            for row, place in found:
                if place is not None:
                    groups[place] = row.get("group") or groups[place]
            if len(absent) > self.allow_missing * len(rows):
                raise ValueError(
                    f"{file}: {len(absent)} of {len(rows)} listed videos are not in the collection, first "
                    f"{absent[:3]}. Get them, or allow it with split.allow_missing (now {self.allow_missing})"
                )
            missing += len(absent)
            sides.append(tuple(place for _, place in found if place is not None))
        return Folds((Fold("split1", sides[0], sides[1], missing=missing),), tuple(groups))


@dataclass(frozen=True)
class ManyLabels:
    """Labels of V images that may show several of K classes, or none."""

    classes: tuple[str, ...]  # K names
    present: NDArray[np.int8]  # [V, K] 1 where an image shows a class, -1 where not, 0 where VOC calls it difficult
    folds: Folds  # one


def voc_labels(train: Path, test: Path, sets: tuple[str, str]) -> tuple[Manifest, ManyLabels]:
    """Read images and labels in the layout of PASCAL VOC (Everingham et al., IJCV 2010).

    Args:
        train: folder with ``JPEGImages/<image>.jpg`` and ``ImageSets/Main/<class>_<set>.txt`` (``<image> -1|0|1``).
        test: another one, or the same.
        sets: names of the training set and the test set.

    Raises:
        FileNotFoundError: if there are no lists.
        MediaError: if there are no images.
        ValueError: if lists can't be read, differ in their images or classes, or name missing images.
    """
    parts = [open_manifest(folder / "JPEGImages") for folder in (train, test)]
    sides = [_voc_side(folder, name, part) for folder, name, part in zip((train, test), sets, parts, strict=True)]
    classes = sides[0][0]
    if sides[1][0] != classes:
        raise ValueError(f"{train} ({sets[0]}) has lists of {list(classes)}, {test} ({sets[1]}) of {list(sides[1][0])}")
    images = Manifest.concat(parts)
    present = np.zeros((len(images), len(classes)), dtype=np.int8)
    rows = [[row + start for row in side[1]] for side, start in zip(sides, (0, len(parts[0])), strict=True)]
    for places, side in zip(rows, sides, strict=True):
        present[places] = side[2]
    folds = Folds((Fold("test", tuple(rows[0]), tuple(rows[1])),), groups_of(images, None), official=True)
    return images, ManyLabels(classes, present, folds)


def _voc_side(folder: Path, name: str, images: Manifest) -> tuple[tuple[str, ...], tuple[int, ...], NDArray[np.int8]]:
    """Read classes, positions ``[N]`` of the listed images and their labels ``[N, K]``."""
    files = sorted((folder / "ImageSets" / "Main").glob(f"*_{name}.txt"))
    if not files:
        raise FileNotFoundError(f"{folder}: no ImageSets/Main/<class>_{name}.txt. Give VOC's layout, or labels")
    columns = []
    for file in files:
        lines = [line.split() for line in _lines(file)]
        wrong = [line for line in lines if len(line) != 2 or line[1] not in ("-1", "0", "1")]
        if wrong:
            raise ValueError(f"{file}: expected lines `<image> -1|0|1`, got {' '.join(wrong[0])!r}")
        columns.append({image: int(mark) for image, mark in lines})
        differing = sorted(columns[0].keys() ^ columns[-1].keys())
        if differing:
            raise ValueError(f"{files[0]} and {file} list different images, such as {differing[:3]}")
    known = {(path.parent.name, path.name): index for index, path in enumerate(images.paths())}
    rows = _positions(files[0], [("JPEGImages", f"{image}.jpg") for image in columns[0]], known)
    present = np.array([[column[image] for column in columns] for image in columns[0]], dtype=np.int8)
    return tuple(file.name.removesuffix(f"_{name}.txt") for file in files), rows, present


def csv_labels(train: Path, test: Path, table: Path) -> tuple[Manifest, ManyLabels]:
    """Read the images of two collections (folders or manifests), and their labels from one CSV file ``path,label``.

    An image has one row per class that it shows; an empty label means none. ``path`` may be the last parts of a path.

    Raises:
        FileNotFoundError: if there is no such file.
        MediaError: if a collection can't be opened.
        ValueError: if the file has other columns, names a missing image or lacks one, or an image is on both sides.
    """
    parts = [open_manifest(root) for root in (train, test)]
    images = Manifest.concat(parts)
    folds = check_apart(TrainTest(len(parts[0]))(images), images)
    rows = _rows(table)
    if not {"path", "label"} <= rows[0].keys():
        raise ValueError(f"{table}: needs the columns path and label, got {list(rows[0])}")
    paths = images.paths()
    placed = _row_positions(table, rows, paths)
    absent = [row["path"] for row, place in placed if place is None]
    if absent:
        raise ValueError(f"{table}: {len(absent)} of {len(rows)} rows name no image of {train} or {test}: {absent[:3]}")
    silent = sorted(set(range(len(images))) - {place for _, place in placed})
    if silent:
        raise ValueError(
            f"{table}: {len(silent)} of {len(images)} images have no row, such as {paths[silent[0]]}. "
            "Give an image that shows none of the classes a row with an empty label"
        )
    classes = sorted({row["label"] for row in rows if row["label"]})
    present = np.full((len(images), len(classes)), -1, dtype=np.int8)
    for row, place in placed:
        if row["label"]:
            present[place, classes.index(row["label"])] = 1
    return images, ManyLabels(tuple(classes), present, folds)


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such split file. Download the official lists and give their folder")
    return [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _rows(file: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_lines(file)))
    if not rows or not ("path" in rows[0] or {"youtube_id", "time_start", "time_end"} <= rows[0].keys()):
        raise ValueError(f"{file}: needs a header with `path`, or `youtube_id,time_start,time_end`; got {rows[:1]}")
    return rows


def _row_positions(
    file: Path, rows: Sequence[dict[str, str]], paths: Sequence[Path]
) -> list[tuple[dict[str, str], int | None]]:
    """Return each row with the position of its video; None if there is no such video."""
    by_stem: dict[str, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        by_stem[path.stem].append(index)
    placed: list[tuple[dict[str, str], int | None]] = []
    for row in rows:
        if "path" in row:
            tail = Path(row["path"]).parts
            found = [i for i in by_stem.get(Path(row["path"]).stem, ()) if paths[i].parts[-len(tail) :] == tail]
        else:
            span = f"{row['youtube_id']}_{int(float(row['time_start'])):06d}_{int(float(row['time_end'])):06d}"
            found = by_stem.get(span) or by_stem.get(row["youtube_id"], [])
        if len(found) > 1:
            raise ValueError(f"{file}: {row} fits both {paths[found[0]]} and {paths[found[1]]}")
        placed.append((row, found[0] if found else None))
    return placed


def _positions(file: Path, names: Sequence[tuple[str, str]], known: Mapping[tuple[str, str], int]) -> tuple[int, ...]:
    missing = ["/".join(name) for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{file}: {len(missing)} of {len(names)} listed videos are not in the collection (or were rejected by the "
            f"index), first {missing[:3]}"
        )
    return tuple(known[name] for name in names)
