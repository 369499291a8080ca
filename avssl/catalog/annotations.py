"""Class, group and view of each file of a collection, from its folder, its path or annotation lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from avssl.catalog.asked import AskedRows
from avssl.catalog.found import ARCHIVES, TABLES
from avssl.catalog.listing import SHOWN, read_list
from avssl.catalog.own import own_format, own_lists
from avssl.catalog.rows import Asked

SPLITS = frozenset({"dev", "eval", "evaluation", "holdout", "pretrain", "test", "testing", "train", "training"})
SPLITS |= {"trainval", "val", "valid", "validate", "validation"}
Lists = str | Path | Sequence[str | Path]


class Annotated(NamedTuple):
    """What is asked of the files of a collection.

    Attributes:
        asked: rows of each file, in the order of the files: one for the whole file, or one per segment; none if lists
            ask for segments and don't name it.
        missing: names in the lists without a file.
        notes: lines to tell the user.
    """

    asked: AskedRows
    missing: Sequence[str]
    notes: list[str]


def annotate(
    root: Path,
    paths: Sequence[str],
    labels: Lists = "auto",
    group: str | None = None,
    view: str | None = None,
    format: str | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> Annotated:
    """Return what is asked of every file of a collection.

    Args:
        root: folder of the collection.
        paths: files relative to ``root``, with forward slashes.
        labels: ``"folders"`` (the class is the file's folder), ``"none"``, ``"auto"`` (the lists that the collection
            brings with it, see :func:`avssl.catalog.own.own_format`; else folders, if every file is in a subfolder,
            there are at least two, and they aren't all the sides of a split, such as ``train`` and ``val``), or
            annotation lists. A table has the columns ``path`` (as in ``paths``, or absolute) and
            ``label``, optionally ``group``, ``view``, ``start``, ``stop`` and ``name``, unless ``format`` or
            ``columns`` say otherwise.
        group: regular expression searched for in each path; its first capture group counts, or the whole match.
        view: the same for the view.
        format: format of the lists, see :func:`avssl.catalog.listing.read_list`. With ``labels="auto"``, the lists are
            where the format has them in a collection.
        columns: columns of the lists, see :func:`avssl.catalog.listing.read_list`.

    Raises:
        FileNotFoundError: if a list doesn't exist.
        ValueError: if one is malformed or names no file of the collection, or an expression doesn't match every path.
    """
    notes = []
    if isinstance(labels, str) and labels == "auto" and format is None and not columns:
        format = own_format(root, paths)
        notes = [f"{root}: a data set of the format {format}, whose own lists are used"] if format else []
    if isinstance(labels, str) and labels in ("auto", "folders", "none") and format is None and not columns:
        found, mine = _by_folder(root, paths, labels), False
    else:
        found, mine = _listed(root, paths, labels, format, columns)
    for name, expression in (("group", group), ("view", view)):
        if expression is not None:
            if mine and any(getattr(row, name) is not None for rows in found.asked for row in rows):
                raise ValueError(f"{name}={expression!r}: {labels} already has a column {name}; give only one of them")
            matched = _search(name, expression, paths)
            asked = (
                [row._replace(group=value) if name == "group" else row._replace(view=value) for row in rows]
                for value, rows in zip(matched, found.asked, strict=True)
            )
            found = found._replace(asked=AskedRows.of(asked))
    return found._replace(notes=[*notes, *found.notes])


def _by_folder(root: Path, paths: Sequence[str], labels: str) -> Annotated:
    names, notes = {_folder(path) for path in paths}, []
    if labels == "folders" and "" in names:
        loose = [path for path in paths if not _folder(path)]
        raise ValueError(
            f"labels=folders: {len(loose)} of {len(paths)} files are in {root} itself and so have no class folder: "
            f"{loose[:SHOWN]}. Use labels=none or a list"
        )
    named = labels == "folders" or (labels == "auto" and "" not in names and len(names) > 1)
    if labels == "auto" and named and {name.casefold() for name in names} <= SPLITS:
        named = False
        notes.append(
            f"{', '.join(sorted(names))} are taken for the sides of a split, not for classes: the files have none. "
            "Give their list (labels), or labels=folders if these are the classes"
        )
    asked = ([Asked(labels=(_folder(path),) if named else None)] for path in paths)
    return Annotated(AskedRows.of(asked), [], notes)


def _folder(path: str) -> str:
    """Return the name of a file's folder; an archive is none."""
    parent = PurePosixPath(path).parent
    return "" if parent.suffix.lower() in ARCHIVES | TABLES else parent.name


def _listed(
    root: Path,
    paths: Sequence[str],
    labels: Lists,
    format: str | None,
    columns: Mapping[str, str | Sequence[str]] | None,
) -> tuple[Annotated, bool]:
    """Return also whether the lists are a table of the user's own, whose groups and views are meant."""
    lists = own_lists(root, paths, format) if isinstance(labels, str) and labels == "auto" else labels
    if isinstance(lists, str) and lists in ("folders", "none"):
        raise ValueError(f"labels={lists}: format and columns are about lists; give the lists as labels")
    each = [lists] if isinstance(lists, str | Path) else list(lists)
    absent = [path for path in each if not Path(path).exists()]
    if absent:
        raise FileNotFoundError(f"labels={absent[0]}: no such file; expected `auto`, `folders`, `none` or lists")
    listed = read_list(each, format, columns)
    matched = listed.match(paths, root)
    named = int((matched.found.counts > 0).sum())
    if matched.num_rows and not named and not matched.rejected:
        raise ValueError(
            f"{', '.join(str(path) for path in each[:SHOWN])}: none of {matched.num_rows} rows names a file in {root}. "
            f"They name {', '.join(matched.missing[:SHOWN])}; there are {', '.join(paths[:SHOWN])}. Give the folder "
            "that the list's paths are relative to, or say which column has the names"
        )
    notes, unnamed = list(matched.notes), len(paths) - named
    if unnamed:
        notes.append(f"{unnamed} files are in no list: " + ("left out" if matched.segments else "they have no class"))
    asked = matched.found if matched.segments else matched.found.completed()
    return Annotated(asked, matched.missing, notes), listed.format == "table"


def _search(name: str, expression: str, paths: Sequence[str]) -> Iterator[str]:
    """Return what an expression finds in each path."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ValueError(f"{name}={expression!r} is not a regular expression: {error}") from error
    misses = [path for path in paths if pattern.search(path) is None]
    if misses:
        raise ValueError(
            f"{name}={expression!r} matches nothing in {len(misses)} of {len(paths)} paths, such as {misses[:SHOWN]}. "
            "A file without one could end up on both sides of a split: widen the expression"
        )
    which = 1 if pattern.groups else 0
    return (match.group(which) for path in paths if (match := pattern.search(path)) is not None)
