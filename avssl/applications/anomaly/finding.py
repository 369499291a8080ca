"""Find what is odd in videos: which, when, and above which threshold."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.applications.anomaly.pictures import curves_picture, sheet_picture
from avssl.applications.anomaly.tracks import By, Track, Tracker, motion_tracker, trackers, views_of
from avssl.applications.anomaly.truth import Truth, judged, read_truth
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.evaluation.features import Views
from avssl.evaluation.readout import Ints
from avssl.evaluation.report import cell
from avssl.evaluation.results import Score, to_json
from avssl.media import open_video
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.training.split import RunSplit, draw

PICTURE = 96  # height of the sheet's frames in pixels
SHOWN = 5  # frames of a moment on the sheet
CURVES = 12  # videos whose curves are drawn


@dataclass(frozen=True)
class Found:
    """A scored video.

    Attributes:
        path: below the root of its collection.
        score: the largest over its moments, or their mean.
        odd: whether the score is above the threshold.
        at: seconds of the oddest moment.
    """

    path: str
    score: float
    odd: bool
    at: float


@dataclass(frozen=True)
class Findings:
    """Content of ``odd.json``.

    Attributes:
        detectors: names; of several, the largest standardised score counts.
        normal: number of normal videos that detectors were fitted to, and that the threshold was set on.
        false_alarms: share of normal videos that may be above the threshold.
        threshold: of scores, which are standardised by the normal videos that the threshold was set on.
        videos: the scored videos, the oddest first.
        judged: with a table of what is odd: areas by detector, and what they are of; chance 0.5.
        seconds: how long it took.
    """

    detectors: Sequence[str]
    normal: Mapping[str, int]
    false_alarms: float
    threshold: float
    videos: Sequence[Found]
    judged: Mapping[str, Mapping[str, Score]] | None
    seconds: float


def find_odd(
    normal: Path,
    videos: Path,
    runs: Sequence[Path],
    out: Path,
    by: Sequence[By] = (),
    odd: Path | None = None,
    false_alarms: float = 0.05,
    held_out: float = 0.3,
    views: Views | None = None,
    hop: float | None = None,
    pool: Literal["max", "mean"] = "max",
    sheet: int = 12,
    machine: Machine = Machine(),  # noqa: B008
) -> Findings:
    """Score the moments of videos by what is normal; write ``odd.json``, ``odd.csv``, ``curves.png`` and ``sheet.png``.

    Args:
        normal: folder or manifest of normal videos.
        videos: folder or manifest of the videos to score.
        runs: run folders; of several, the largest standardised score counts.
        out: folder of the results.
        by: measures; by default the best that each run offers: ``dirichlet`` (or ``log_softmax``) of a run of
            Transformations, ``offset`` of a synchroniser, ``neighbours`` (or ``mahalanobis``) of any encoder.
        odd: table of what is known to be odd, with columns path and label and optionally start and stop in seconds;
            detectors are then judged, beside motion energy.
        false_alarms: share of normal videos that may be above the threshold.
        held_out: share of the groups of normal videos that the threshold is set on, and nothing is fitted to. If a run
            was trained on some of them, it is instead set on all others.
        views: clips; by default those that the first run was trained on.
        hop: seconds between two clips; by default half a clip.
        pool: a video's score is that of its oddest moment, or the mean.
        sheet: moments on the sheet.
        machine: device, workers and cache.

    Raises:
        FileNotFoundError, MediaError: if a run, a collection or a video can't be read.
        ValueError: if a video is in both collections, too few normal videos or groups are left, or a run can't be
            scored as asked.
    """
    begun = time.perf_counter()
    options = {"false_alarms": false_alarms, "held_out": held_out, "hop": hop, "sheet": sheet}
    check_ranges("", options, false_alarms="(0, 1)", held_out="(0, 1)", hop="(0, inf)", sheet="[1, inf)")
    usual, asked = open_manifest(normal), open_manifest(videos)
    both = set(usual.column("content").to_pylist()) & set(asked.column("content").to_pylist()) - {None}
    if both:
        raise ValueError(
            f"{len(both)} of the videos in {videos} are also in {normal}: what is scored can't be normal too"
        )
    fitted, kept = set_aside(usual, runs, held_out)
    least = math.ceil(1 / false_alarms) - 1
    if len(kept) < least:
        raise ValueError(
            f"{len(kept)} of {len(usual)} normal videos are left to set a threshold on, and false alarms of "
            f"{false_alarms} need {least}: give more normal videos, or raise --held_out or --false_alarms"
        )
    shown = views_of(runs[0], views)
    assert shown.step is not None
    apart = hop or shown.num_frames * shown.step / 2
    every = [each for run in runs for each in trackers(run, by, shown, apart, machine)]
    truth = None if odd is None else read_truth(odd, asked)
    if truth is not None and shown.num_frames > 1:
        every.append(motion_tracker(shown, apart, machine))
    calibrated: list[list[Track]] = []
    tested: list[list[Track]] = []
    for each in every:
        standard = _standardised(each, usual, asked, fitted, kept)
        calibrated.append(standard[0])
        tested.append(standard[1])
    ours = [place for place, each in enumerate(every) if not each.baseline]
    names = [each.name for each in every]
    reference, joined = (_joined([side[place] for place in ours]) for side in (calibrated, tested))
    threshold = float(np.sort([_pooled(track, pool) for track in reference])[rank(len(kept), false_alarms) - 1])
    scores = np.array([_pooled(track, pool) for track in joined])
    order = np.argsort(-scores, kind="stable").astype(np.int64)
    keys = asked.keys.to_pylist()
    curves = dict(zip(names, tested, strict=True))
    if len(ours) > 1:
        curves = {"largest of all": joined, **curves}
    pooled = {name: np.array([_pooled(track, pool) for track in tracks]) for name, tracks in curves.items()}
    results = Findings(
        detectors=[names[place] for place in ours],
        normal={"fitted": len(fitted), "threshold": len(kept)},
        false_alarms=false_alarms,
        threshold=threshold,
        videos=[
            Found(keys[row], float(scores[row]), bool(scores[row] > threshold), _moment(joined[row])) for row in order
        ],
        judged=None if truth is None else judged(truth, curves, pooled, asked.units().to_pylist()),
        seconds=round(time.perf_counter() - begun, 1),
    )
    write(results, out)
    draw_all(results, joined, order, asked, truth, sheet, shown, out)
    return results


def set_aside(usual: Manifest, runs: Sequence[Path], share: float) -> tuple[list[int], list[int]]:
    """Return the normal videos that detectors are fitted to, and those that a threshold is set on.

    The latter are of other groups, and no run was trained on them.
    """
    contents = usual.column("content").to_pylist()
    splits = [split for run in runs if (split := RunSplit.read(run)) is not None]
    trained: set[str] = set()
    for split in splits:
        side = split.table.filter(np.logical_not(split.table["held_out"].to_numpy()))
        trained |= set(side["content"].to_pylist())
    units = usual.units()
    named = units.to_pylist()
    known = {name for name, content in zip(named, contents, strict=True) if content in trained}
    if known:
        apart = np.array([name not in known for name in named])
    elif len(set(named)) < 2:
        raise ValueError(f"the {len(usual)} normal videos are of one group ({named[0]}): none is left for a threshold")
    else:
        apart = draw(units, share)
    return np.flatnonzero(~apart).tolist(), np.flatnonzero(apart).tolist()


def rank(count: int, false_alarms: float) -> int:
    """Return which of ``count`` rising scores of normal videos is the threshold.

    A further normal video is above it with a probability of at most ``false_alarms`` (split conformal prediction).
    """
    return min(count, math.ceil((count + 1) * (1 - false_alarms) - 1e-9))


def _standardised(
    tracker: Tracker, usual: Manifest, asked: Manifest, fitted: Sequence[int], kept: Sequence[int]
) -> tuple[list[Track], list[Track]]:
    """Score the kept normal videos and the tested ones, in standard deviations of the kept videos' moments."""
    described = tracker.describe(usual, [*fitted, *kept])
    known, own = described[: len(fitted)], described[len(fitted) :]
    every = tracker.scored(known, [*own, *tracker.describe(asked, range(len(asked)))])
    reference = np.concatenate([track.values for track in every[: len(kept)]])
    mean, deviation = reference.mean(), max(float(reference.std()), 1e-12)
    every = [Track(track.seconds, (track.values - mean) / deviation) for track in every]
    return every[: len(kept)], every[len(kept) :]


def _joined(tracks: Sequence[Sequence[Track]]) -> list[Track]:
    """Take the largest score of several detectors at the moments of the one that has most."""
    found = []
    for several in zip(*tracks, strict=True):
        seconds = max((track.seconds for track in several), key=len)
        values = [np.interp(seconds, track.seconds, track.values) for track in several]
        found.append(Track(seconds, np.max(values, axis=0)))
    return found


def _pooled(track: Track, pool: str) -> float:
    return float(track.values.max() if pool == "max" else track.values.mean())


def _moment(track: Track) -> float:
    return float(track.seconds[track.values.argmax()])


def write(results: Findings, out: Path) -> None:
    """Write ``odd.json`` and ``odd.csv``."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "score", "odd", "at"])
    for found in results.videos:
        rows.writerow([found.path, f"{found.score:.4f}", int(found.odd), f"{found.at:.3f}"])
    write_text(out / "odd.csv", text.getvalue())
    kept = to_json(results) | {"videos": [to_json(found) for found in results.videos]}
    write_text(out / "odd.json", json.dumps(kept, indent=1))


def draw_all(
    results: Findings,
    tracks: Sequence[Track],
    order: Ints,
    videos: Manifest,
    truth: Truth | None,
    sheet: int,
    views: Views,
    out: Path,
) -> None:
    """Draw the curves of the oddest videos, and the frames of their oddest moments."""
    keys = videos.keys.to_pylist()
    curves = [
        (keys[row], tracks[row].seconds, tracks[row].values, [] if truth is None else truth.spans.get(row, []))
        for row in order[:CURVES].tolist()
    ]
    curves_picture(curves, results.threshold, out / "curves.png")
    pictures, titles = [], []
    for row in order[:sheet].tolist():
        at = _moment(tracks[row])
        pictures.append(_frames(videos, row, at, views))
        titles.append(f"{keys[row]}, {at:.2f} s: {float(tracks[row].values.max()):.1f}")
    sheet_picture(pictures, titles, out / "sheet.png")


def _frames(videos: Manifest, row: int, at: float, views: Views) -> list[Tensor]:
    info = videos[row]
    half = views.num_frames * (views.step or 0) / 2
    last = max(info.duration - 1 / info.fps, 0.0)
    times = torch.linspace(max(at - half, 0.0), min(at + half, last), SHOWN, dtype=torch.float64)
    size = (PICTURE, round(PICTURE * info.size[1] / info.size[0]))
    with open_video(info.path, info=info) as reader:
        return list(reader.frames(times, size=size))


def print_findings(results: Findings, console: Console | None = None) -> None:
    """Print the oddest videos, and how well what is known to be odd was found."""
    console = console or Console(width=120)
    flagged = sum(found.odd for found in results.videos)
    table = Table("video", "oddity", "above threshold", "at", title=f"{', '.join(results.detectors)}")
    for found in results.videos[:10]:
        table.add_row(found.path, f"{found.score:.2f}", "yes" if found.odd else "", f"{found.at:.2f} s")
    console.print(table)
    console.print(
        f"{flagged} of {len(results.videos)} videos are above {results.threshold:.2f}, which at most "
        f"{results.false_alarms:g} of normal ones are"
    )
    if results.judged is not None:
        kinds = list(dict.fromkeys(kind for scores in results.judged.values() for kind in scores))
        table = Table("detector", *kinds, title="AUROC, chance 0.5")
        for name, scores in results.judged.items():
            table.add_row(name, *(cell(scores.get(kind)) for kind in kinds))
        console.print(table)
