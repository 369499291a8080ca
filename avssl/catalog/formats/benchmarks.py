"""Lists that say who is trained and tested beside the classes: ESC-50, Jester, and few-shot splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from avssl.catalog.columns import classes
from avssl.catalog.formats.collections import lines_of
from avssl.catalog.records import records
from avssl.catalog.rows import Entry, Format, Place, Settings, at_line, clean


def esc50(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield ESC-50 (Piczak, ACM Multimedia 2015): ``filename,fold,target,category,esc10,src_file,take``.

    The side is the number of the fold, the group the recording that a clip was cut from (``src_file``).
    """
    for line, row in records(path, settings):
        with at_line(path, line):
            fold = clean(row["fold"])
            if not fold.isdigit():
                raise ValueError(f"expected the number of a fold, got {fold!r}")
            name = clean(row["filename"])
            shown = classes({"label": row["category"]}, settings)
            yield Entry(line, (Place(name),), shown, clean(row["src_file"]), name=name, side=fold)


def jester(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield Jester (Materzynska et al., ICCV Workshops 2019): lines ``id;class``, ids alone in the test list.

    It is published as folders of pictures: make a video of each, ``ID.mp4``, at 12 frames per second.
    """
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            name, delimiter, label = (clean(part) for part in text.partition(";"))
            if not name.isdigit() or (delimiter and not label):
                raise ValueError(f"expected `id;class`, or `id` in the test list, got {text!r}")
            yield Entry(line, (Place(name),), classes({"label": label}, settings), name=name)


def cmn(path: Path, settings: Settings) -> Iterator[Entry]:
    """Yield the few-shot splits of Kinetics and Something-Something V2: lines ``class/video``, a list for each side.

    As published with CMN (Zhu & Yang, ECCV 2018; ``train.list``, ``val.list``, ``test.list``), OTAM (Cao et al., CVPR
    2020) and ARN. Videos are ``ID_000010_000020`` on Kinetics; the blanks of classes may be written as ``_``.
    """
    for line, text in lines_of(path, settings):
        with at_line(path, line):
            label, slash, name = text.rpartition("/")
            if not slash or not label.strip("/ ") or not name:
                raise ValueError(f"expected `class/video`, got {text!r}")
            label = clean(label.rpartition("/")[2])
            shown = classes({"label": label.replace("_", " ")}, settings)
            yield Entry(line, (Place(clean(name)),), shown, name=clean(name), hints=(label,))


FORMATS = {
    "esc50": Format(esc50, header=frozenset({"filename", "fold", "category", "src_file"})),
    "jester": Format(jester),
    "cmn": Format(cmn),
}
