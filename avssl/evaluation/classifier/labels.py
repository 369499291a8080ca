"""The labelled videos from which a classifier is made, and what of them is refused."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from avssl.catalog.annotations import annotate
from avssl.catalog.finding import find_recordings
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest, Rejected
from avssl.runtime.files import user_cache

SHOWN = 3  # names in a message
KINDS = ("auto", "folders", "none")


@dataclass(frozen=True)
class Labelled:
    """Videos with labels.

    Attributes:
        videos: those that can be used; each has a label, or shows none of the classes.
        refused: those that can't, with the reason.
        unlabelled: number of videos without a label, which are left out.
    """

    videos: Manifest
    refused: list[Rejected]
    unlabelled: int

    def without(self, rows: Mapping[int, str]) -> Labelled:
        """Refuse further videos, by their positions with the reason."""
        paths = self.videos.paths()
        more = [Rejected(paths[row], why) for row, why in rows.items()]
        kept = [row for row in range(len(self.videos)) if row not in rows]
        return Labelled(self.videos.select(kept), [*self.refused, *more], self.unlabelled)


def open_labelled(
    root: str | Path, lists: Sequence[str] = (), columns: Mapping[str, str | Sequence[str]] | None = None
) -> Labelled:
    """Open labelled videos.

    Args:
        root: a folder of class folders, or a manifest; with ``lists``, the folder of the videos.
        lists: annotation lists, see `avssl.catalog.annotations.annotate`.
        columns: their columns, see there.

    Raises:
        FileNotFoundError: if there is no such manifest or list.
        MediaError: if there is no such folder, or no video in it.
        ValueError: if a list names files that are not there, or there are fewer than two classes.
    """
    if not lists:
        videos = open_manifest(root)
    else:
        videos = open_listed(root, lists, columns)
    known = pc.is_valid(videos.column("labels")).to_numpy(zero_copy_only=False)
    used = videos.select(np.flatnonzero(known))
    refused = _refused(videos)
    shown = {name for names in used.column("labels").to_pylist() for name in names}
    where = f"{root}: {len(videos)} video(s) that can be read, {len(refused)} refused"
    if len(shown) < 2:
        raise ValueError(
            f"{where}, {len(shown)} class(es) ({', '.join(sorted(shown)) or 'none'}): a classifier tells at least two "
            "apart. Give a folder with one folder per class, a manifest with labels, or --labels LIST"
        )
    if lost := sorted(set(videos.classes) - shown):
        raise ValueError(
            f"{where}: class {lost[0]!r} has no video that can be read ({len(lost)} such class(es)). Add some, or "
            f"remove the class{f': {refused[0].path} ({refused[0].reason})' if refused else ''}"
        )
    return Labelled(used, refused, int((~known).sum()))


def open_listed(
    root: str | Path, lists: Sequence[str], columns: Mapping[str, str | Sequence[str]] | None = None
) -> Manifest:
    """Index a folder with lists, whether or not all videos have a label; its measurements are shared by all lists.

    Raises as `open_labelled` does for files that are not there.
    """
    root = Path(os.path.abspath(root))
    if root.suffix in (".parquet", ".arrow"):
        raise ValueError(f"{root}: a manifest brings its own labels: leave --labels out, or give the videos' folder")
    keys = [file.key for file in find_recordings(root).files]
    asked: str | Sequence[str] = lists[0] if len(lists) == 1 and lists[0] in KINDS else lists
    missing = annotate(root, keys, asked, columns=columns).missing
    if missing:
        raise ValueError(
            f"{', '.join(lists)}: {len(missing)} name(s) without a file in {root}: "
            f"{', '.join(_near(name, keys) for name in missing[:SHOWN])}{', ...' if len(missing) > SHOWN else ''}. "
            "Correct or remove them"
        )
    name = hashlib.sha256(os.fsencode(f"{root}, labelled by lists")).hexdigest()[:24]
    return build_index(root, user_cache() / "index" / name / "videos.parquet", labels=asked, columns=columns)


def _near(name: str, keys: Sequence[str]) -> str:
    """Return a name, and the file that it may mean."""
    near = difflib.get_close_matches(name, keys, n=1)
    if not near:
        by_name = {key.rpartition("/")[2]: key for key in keys}
        near = [by_name[found] for found in difflib.get_close_matches(name.rpartition("/")[2], by_name, n=1)]
    return f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name)


def _refused(videos: Manifest) -> list[Rejected]:
    """Return the files with a label that can't be used."""
    labels = videos.column("labels", rejected=True).to_pylist()[len(videos) :]
    return [found for found, names in zip(videos.rejected, labels, strict=True) if names is not None]
