"""The videos of an advice: indexed, copied for training as far as time allows, and looked at."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.evaluation.classifier.labels import open_listed

COPIES = CopyOptions(short_side=72, gop=4)
FIRST = 16  # videos that are copied to see how long copying takes
SHARE = 0.2  # of the time, for copying
LEAST = 100  # videos that are copied in any case


def open_source(root: Path, labels: tuple[str, ...], columns: dict[str, Any] | None) -> Manifest:
    """Open a collection; labels are those of the lists, a manifest's own with ``own``, and none unless asked for.

    Raises:
        FileNotFoundError: if there is no such list or manifest.
        MediaError: if there is no video.
        ValueError: if a list names files that are not there.
    """
    if labels and labels != ("own",):
        return open_listed(root, labels, columns)
    return open_manifest(root)


def copy_some(source: Manifest, folder: Path, seconds: float) -> int:
    """Copy videos into a folder, labelled ones first, as many as fit into some seconds; return their number."""
    rows = _order(source)
    begun = time.monotonic()
    count = min(len(rows), FIRST)
    prepare(source.select(np.sort(rows[:count])), folder, COPIES)
    each = (time.monotonic() - begun) / count
    labelled = sum(names is not None for names in source.column("labels").to_pylist())
    count = min(len(rows), max(LEAST, labelled, int(seconds / max(each, 1e-6))))
    prepare(source.select(np.sort(rows[:count])), folder, COPIES)
    return count


def _order(source: Manifest) -> np.ndarray:
    """Return all positions: labelled videos first, both kinds evenly spread over the collection."""
    known = np.array([names is not None for names in source.column("labels").to_pylist()])
    rng = np.random.default_rng(0)
    return np.concatenate([rng.permutation(np.flatnonzero(known)), rng.permutation(np.flatnonzero(~known))])


def has_stills(source: Manifest) -> bool:
    """Return whether some of the videos are images, which are used as they are."""
    return "image" in source.column("container").to_pylist()
