"""Class, group and view of each file of a collection, from its folder, its path or a CSV file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SHOWN = 3  # examples in a message


class Annotation(NamedTuple):
    """Class of a file, its group (which must not be split between training and test), and its camera."""

    label: str | None = None
    group: str | None = None
    view: str | None = None


def annotate(
    root: Path, paths: Sequence[str], labels: str = "auto", group: str | None = None, view: str | None = None
) -> dict[str, Annotation]:
    """Return an annotation for every file of a collection.

    Args:
        root: folder of the collection.
        paths: files relative to ``root``, with forward slashes.
        labels: ``"folders"`` (the class is the file's folder), ``"none"``, ``"auto"`` (folders, if every file is in
            a subfolder and there are at least two) or a CSV file with the columns ``path`` (as in ``paths``, or
            absolute) and ``label``, optionally ``group`` and ``view``. Empty fields mean none.
        group: regular expression searched for in each path; its first capture group counts, or the whole match.
        view: the same for the view.

    Raises:
        FileNotFoundError: if the CSV file doesn't exist.
        ValueError: if it is malformed, or an expression doesn't match every path.
    """
    if labels in ("auto", "folders", "none"):
        folders = {path: PurePosixPath(path).parent.name or None for path in paths}
        if labels == "folders" and None in folders.values():
            loose = [path for path, folder in folders.items() if folder is None]
            raise ValueError(
                f"labels=folders: {len(loose)} of {len(paths)} files are in {root} itself and so have no class folder: "
                f"{loose[:SHOWN]}. Use labels=none or a CSV file"
            )
        names = set(folders.values())
        by_folder = labels == "folders" or (labels == "auto" and None not in names and len(names) > 1)
        found = {path: Annotation(folders[path] if by_folder else None) for path in paths}
    else:
        found = _from_csv(Path(labels), root, paths)
    for name, expression in (("group", group), ("view", view)):
        if expression is not None:
            if any(getattr(annotation, name) is not None for annotation in found.values()):
                raise ValueError(f"{name}={expression!r}: {labels} already has a column {name}; give only one of them")
            matched = _search(name, expression, paths)
            found = {path: annotation._replace(**{name: matched[path]}) for path, annotation in found.items()}
    return found


def _search(name: str, expression: str, paths: Sequence[str]) -> dict[str, str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise ValueError(f"{name}={expression!r} is not a regular expression: {error}") from error
    matches = {path: pattern.search(path) for path in paths}
    misses = [path for path, match in matches.items() if match is None]
    if misses:
        raise ValueError(
            f"{name}={expression!r} matches nothing in {len(misses)} of {len(paths)} paths, such as {misses[:SHOWN]}. "
            "A file without one could end up on both sides of a split: widen the expression"
        )
    return {path: match.group(1 if pattern.groups else 0) for path, match in matches.items() if match is not None}


def _from_csv(table: Path, root: Path, paths: Sequence[str]) -> dict[str, Annotation]:
    if not table.is_file():
        raise FileNotFoundError(f"labels={table}: no such file; expected `auto`, `folders`, `none` or a CSV file")
    found = dict.fromkeys(paths, Annotation())
    seen: dict[str, int] = {}
    unknown = []
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = [name for name in ("path", "label") if name not in columns]
        if missing:
            raise ValueError(f"{table}: columns {missing} are missing; it has {list(columns)}")
        for row in reader:
            line, given = reader.line_num, row["path"]
            path = Path(os.path.relpath(given, root) if os.path.isabs(given) else os.path.normpath(given)).as_posix()
            if path in seen:
                raise ValueError(f"{table}, line {line}: {given!r} was already given in line {seen[path]}")
            seen[path] = line
            if path not in found:
                unknown.append(f"line {line}: {given}")
            else:
                found[path] = Annotation(row["label"] or None, row.get("group") or None, row.get("view") or None)
    if unknown:
        raise ValueError(
            f"{table}: {len(unknown)} of {len(seen)} paths are not videos in {root}, such as {unknown[:SHOWN]}. "
            "Give paths relative to that folder"
        )
    return found
