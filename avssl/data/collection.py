"""The interface by which a dataset reads a collection of videos: rows, columns, and scenes of several cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from avssl.media import VideoInfo


class Collection(Protocol):
    """Indexed videos, such as a manifest."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoInfo: ...


def column(videos: Collection, name: str) -> Sequence[Any]:
    """Return one field of every video; a manifest answers from its memory map."""
    stored = getattr(videos, "column", None)
    if stored is not None:
        return stored(name).to_numpy() if name == "duration" else stored(name).to_pylist()
    return [getattr(videos[index], name) for index in range(len(videos))]


def scenes(videos: Collection, views: int) -> list[list[int]]:
    """Return the rows of each group that has at least ``views`` cameras, sorted by the cameras' names.

    Raises:
        ValueError: if there is no such group, or a group has two recordings from one camera.
    """
    groups: dict[str, dict[str, int]] = {}
    for row, (group, view) in enumerate(zip(column(videos, "group"), column(videos, "view"), strict=True)):
        if group is None or view is None:
            continue
        other = groups.setdefault(group, {}).setdefault(view, row)
        if other != row:
            raise ValueError(
                f"{videos[other].path} and {videos[row].path} are both view {view!r} of group {group!r}: "
                "index with a --group that tells scenes apart and a --view that tells cameras apart"
            )
    found = [[rows[name] for name in sorted(rows)] for rows in groups.values() if len(rows) >= views]
    if not found:
        raise ValueError(
            f"none of {len(groups)} groups of the {len(videos)} videos has {views} synchronised cameras: index the "
            "collection with --group and --view, or use a method that needs one camera"
        )
    return found
