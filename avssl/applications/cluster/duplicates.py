"""Near duplicates: groups of videos that must not be split, as a list for ``avssl index``."""

from __future__ import annotations

import csv
import io

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from avssl.catalog.manifest import Manifest
from avssl.evaluation.readout import Floats, Ints

BLOCK = 1024


def near_duplicates(vectors: Floats, alike: float) -> tuple[Ints, list[tuple[int, int, float]]]:
    """Return the number of each video's set of near duplicates ``[V]``, and the pairs above ``alike``, closest first.

    A set is what pairs connect. ``vectors`` are of unit length, ``[V, D]``.
    """
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(vectors), BLOCK):
        cosine = vectors[start : start + BLOCK] @ vectors.T
        for first, second in zip(*np.nonzero(cosine > alike), strict=True):
            if start + first < second:
                pairs.append((int(start + first), int(second), float(cosine[first, second])))
    ends = np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), (ends[0], ends[1])), shape=(len(vectors),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64), sorted(pairs, key=lambda pair: -pair[2])


def groups_table(videos: Manifest, sets: Ints) -> str:
    """Return a table of path, label and group for ``avssl index --labels``.

    Videos of one set, and all that share a group with one of them, get one group, named after its first member.
    """
    units = videos.units().to_pylist()
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    own = np.array([numbers[unit] for unit in units])
    shape = (len(numbers) + sets.max() + 1,) * 2
    graph = coo_array((np.ones(len(own)), (own, len(numbers) + sets)), shape=shape)
    joined = connected_components(graph, directed=False)[1][own]
    first = {int(part): unit for part, unit in reversed(list(zip(joined, units, strict=True)))}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    labels = videos.column("label").to_pylist()
    labelled = any(label is not None for label in labels)
    rows.writerow(["path", *(["label"] if labelled else []), "group"])
    for key, label, part in zip(videos.keys.to_pylist(), labels, joined.tolist(), strict=True):
        rows.writerow([key, *([label or ""] if labelled else []), first[part]])
    return text.getvalue()
