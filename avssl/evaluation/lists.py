"""Published splits and labels of data sets, read from their own list files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avssl.catalog.formats import shards
from avssl.catalog.index import open_manifest
from avssl.catalog.listing import Listed, read_list
from avssl.catalog.manifest import Manifest
from avssl.catalog.records import columns_of
from avssl.catalog.rows import Entry, Place, Settings
from avssl.catalog.texts import text_lines
from avssl.evaluation.listed import Rows, entries_of, positions, split_file
from avssl.evaluation.splits import Fold, Folds, TrainTest, check_apart, groups_of, search_group

OWN = {"table", *shards.FORMATS}  # lists of data sets that anybody makes
TRAINING = ("train", "training")  # what lists of both sides call one of them


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
        rows = Rows(videos)
        groups = [f"{path.parent.name}/{search_group(r'_g(?P<group>[0-9]+)_', path)[1]}" for path in videos.paths()]
        folds = []
        for number in self.splits:
            files = [self.lists / f"{side}list{number:02d}.txt" for side in ("train", "test")]
            train, test = (positions(file, entries_of(file, "ucf101"), rows) for file in files)
            folds.append(Fold(f"split{number}", train, test))
        return Folds(tuple(folds), tuple(groups), official=True)


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
        rows, folds = Rows(videos), []
        for number in self.splits:
            sides: dict[str, list[int]] = {"1": [], "2": []}
            for name in videos.classes:
                file = self.lists / f"{name}_test_split{number}.txt"
                entries = entries_of(file, "hmdb51")
                for side, kept in sides.items():
                    kept += positions(file, [entry for entry in entries if entry.side == side], rows)
            folds.append(Fold(f"split{number}", tuple(sides["1"]), tuple(sides["2"])))
        return Folds(tuple(folds), groups_of(videos, None), official=True)


class CSVLists:
    """One split from two lists, as published with Kinetics.

    They say which videos, not which classes: these are the collection's, from its folders or from the lists that it was
    indexed with (``avssl index ROOT --labels train.csv --labels val.csv``). Rows are found by the list's own id, as it
    was indexed, else by file and seconds. A published split stands as it is: recordings and groups on both sides, as
    VGGSound has them, are reported; those of a table of your own are refused. A list that holds both sides, as
    VGGSound's does, is given twice: its own column says the side of each row.

    Args:
        train: list of the training videos: a table with the column ``path`` (the path, or its last parts) and
            optionally ``group``, or a published format that its columns tell, such as Kinetics'.
        test: list of the test videos.
        allow_missing: share of the listed videos that may be missing; their number is reported.
        format: format of the lists, see :func:`avssl.catalog.listing.read_list`.
        rows: numbers of rows that the lists must have, to tell versions of a data set apart; None for any.
    """

    def __init__(
        self,
        train: Path,
        test: Path,
        allow_missing: float = 0.0,
        format: str | None = None,
        rows: tuple[int, int] | None = None,
    ) -> None:
        self.files = (Path(train), Path(test))
        self.allow_missing = allow_missing
        self.format = format
        self.rows = rows

    def __call__(self, videos: Manifest) -> Folds:  # noqa: D102
        groups, rows = list(groups_of(videos, None)), Rows(videos)
        sides: list[tuple[int, ...]] = []
        missing, published = 0, True
        for number, file in enumerate(self.files):
            listed = self._open(file)
            published &= listed.format not in OWN
            places, absent, num_rows = [], [], 0
            for _, entry in listed:
                if not self._on_side(file, number, entry):
                    continue
                num_rows += 1
                found = rows.find(file, entry)
                if not found:
                    absent.append(entry.places[-1].name)
                places += found
                for place in found:
                    groups[place] = entry.group or groups[place]
            if self.rows is not None and num_rows != self.rows[number]:
                raise ValueError(
                    f"{file}: {num_rows} rows for {('training', 'test')[number]}, but this protocol's list has "
                    f"{self.rows[number]}. It is another version of the list, or a part of it: get the one that the "
                    "config names, or set split.rows=null to use it"
                )
            if len(absent) > self.allow_missing * num_rows:
                raise ValueError(
                    f"{file}: {len(absent)} of {num_rows} listed videos are not in the collection, first "
                    f"{absent[:3]}. Get them, or allow it with split.allow_missing (now {self.allow_missing})"
                )
            missing += len(absent)
            sides.append(tuple(dict.fromkeys(places)))
        fold = Fold("split1", sides[0], sides[1], missing=missing)
        return Folds((fold,), tuple(groups), official=published)

    def _on_side(self, file: Path, number: int, entry: Entry) -> bool:
        """Tell whether a row is of the training side (0) or the test side (1) where one list holds both."""
        if self.files[0] != self.files[1]:
            return True
        if entry.side is None:
            raise ValueError(
                f"{file}, line {entry.line}: is given for both sides, but doesn't say which. Give two lists"
            )
        return (entry.side in TRAINING) == (number == 0)

    def _open(self, file: Path) -> Listed:
        if self.format is not None:
            return read_list(file, self.format)
        header = columns_of(split_file(file), Settings()) or []
        if "path" in header:
            return read_list(file, columns={name: name for name in ("path", "group") if name in header})
        try:
            listed = read_list(file)
        except ValueError as error:
            raise ValueError(f"{file}: needs a header with `path`, or split.format: {error}") from error
        if listed.format == "table":
            raise ValueError(
                f"{file}: needs a header with `path`, or with the columns of a published list; got {header}"
            )
        return listed


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
    listed = [Entry(0, (Place(f"JPEGImages/{image}.jpg"),)) for image in columns[0]]
    rows = positions(files[0], listed, Rows(images))
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
    matched = read_list(table, columns={"path": "path", "labels": "label"}).match(
        [str(path) for path in images.paths()]
    )
    if matched.missing:
        raise ValueError(
            f"{table}: {len(matched.missing)} of {matched.num_rows} rows name no image of {train} or {test}: "
            f"{matched.missing[:3]}"
        )
    silent = sorted(set(range(len(images))) - matched.asked.keys())
    if silent:
        raise ValueError(
            f"{table}: {len(silent)} of {len(images)} images have no row, such as {images.paths()[silent[0]]}. "
            "Give an image that shows none of the classes a row with an empty label"
        )
    shown = {place: row.labels or () for place, (row,) in matched.asked.items()}
    classes = sorted({label for labels in shown.values() for label in labels})
    present = np.full((len(images), len(classes)), -1, dtype=np.int8)
    for place, labels in shown.items():
        present[place, [classes.index(label) for label in labels]] = 1
    return images, ManyLabels(tuple(classes), present, folds)


def _lines(file: Path) -> list[str]:
    return [line for line in text_lines(split_file(file)) if line.strip()]
