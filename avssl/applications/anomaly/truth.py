"""What is known to be odd, and how well detectors find it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avssl.applications.anomaly.scoring import Reals
from avssl.applications.anomaly.tracks import Track
from avssl.applications.detection import auroc
from avssl.catalog.manifest import Manifest
from avssl.evaluation.results import Score


@dataclass(frozen=True)
class Truth:
    """What is odd in a collection.

    Attributes:
        kinds: kind of oddity by row of the video.
        spans: first and last second of each, by row; empty where they are not known.
    """

    kinds: Mapping[int, str]
    spans: Mapping[int, list[tuple[float, float]]]


def read_truth(path: Path, videos: Manifest) -> Truth:
    """Read a table with columns path, label and optionally start and stop in seconds, one row per odd act.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing, a path is not in the collection, or no video is odd, or all are.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    places = {key: row for row, key in enumerate(videos.keys.to_pylist())}
    kinds: dict[int, str] = {}
    spans: dict[int, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        if "path" not in row or "label" not in row:
            raise ValueError(f"{path}: has the columns {list(row)}, and needs path and label")
        if row["path"] not in places:
            raise ValueError(f"{path}, line {number}: {row['path']!r} is not among the {len(videos)} videos")
        place = places[row["path"]]
        kinds[place] = row["label"]
        if row.get("start") and row.get("stop"):
            spans.setdefault(place, []).append((float(row["start"]), float(row["stop"])))
    if not 0 < len(kinds) < len(videos):
        raise ValueError(f"{path}: {len(kinds)} of {len(videos)} videos are odd; to be judged, it takes both kinds")
    return Truth(kinds, spans)


def judged(
    truth: Truth, curves: Mapping[str, Sequence[Track]], pooled: Mapping[str, Reals], units: Sequence[str]
) -> dict[str, dict[str, Score]]:
    """Return for each detector the area over all videos, for each kind of oddity against normal ones, and over moments.

    Moments are those within spans against all others of all videos. Intervals are over groups, ``units`` ``[V]``.
    """
    count = len(units)
    odd = np.array([row in truth.kinds for row in range(count)])
    found: dict[str, dict[str, Score]] = {}
    for name, scores in pooled.items():
        areas = {"all": auroc(scores, odd, units)}
        kinds = sorted(set(truth.kinds.values()))
        for kind in kinds if len(kinds) > 1 else ():
            chosen = np.array([not odd[row] or truth.kinds[row] == kind for row in range(count)])
            areas[kind] = auroc(scores[chosen], odd[chosen], np.asarray(units)[chosen].tolist())
        if truth.spans:
            inside = [
                np.any([(track.seconds >= a) & (track.seconds <= b) for a, b in truth.spans.get(row, [])], axis=0)
                if truth.spans.get(row)
                else np.zeros(len(track.seconds), bool)
                for row, track in enumerate(curves[name])
            ]
            owner = [unit for unit, track in zip(units, curves[name], strict=True) for _ in track.seconds]
            values = np.concatenate([track.values for track in curves[name]])
            if np.concatenate(inside).any():
                areas["moments"] = auroc(values, np.concatenate(inside), owner)
        found[name] = areas
    return found
