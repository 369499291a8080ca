"""Cluster a collection by the features of runs, beside untrained networks and motion energy."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from avssl.applications.cluster.duplicates import groups_table, near_duplicates
from avssl.applications.cluster.grouping import How, choose, cluster, standardised, unit
from avssl.applications.cluster.judging import against_labels, by_chance, stability
from avssl.applications.cluster.sheets import members, sheet, write_page
from avssl.applications.described import describe_collection
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.classes import class_numbers
from avssl.evaluation.features import Views
from avssl.evaluation.readout import Floats, Ints
from avssl.evaluation.report import cell
from avssl.evaluation.results import Score, to_json
from avssl.evaluation.settings import plain
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.files import write_atomically, write_text


@dataclass(frozen=True)
class Clustering:
    """The clusters of a collection by one kind of features.

    Attributes:
        clusters: their number.
        sizes: videos of each.
        stability: mean adjusted Rand index of the clusters of 80 % of the groups, chance 0.
        silhouette: of each number tried, if it was to be chosen.
        scores: NMI, adjusted Rand index and accuracy against labels, if there are any.
        chance: the same with the clusters in random order.
    """

    clusters: int
    sizes: Sequence[int]
    stability: Score
    silhouette: Mapping[str, float] | None = None
    scores: Mapping[str, Score] | None = None
    chance: Mapping[str, float] | None = None


@dataclass(frozen=True)
class ClusterResults:
    """Content of ``cluster.json``.

    Attributes:
        videos: number of videos.
        labelled: number of those with exactly one class, which scores are of.
        classes: number of classes.
        views: clips of each video.
        how: method.
        found: by name of the features.
        alike: cosine above which two videos are near duplicates.
        duplicates: the pairs, closest first: paths and cosine.
        seconds: how long it took.
    """

    videos: int
    labelled: int
    classes: int
    views: Mapping[str, object]
    how: How
    found: Mapping[str, Clustering]
    alike: float
    duplicates: Sequence[tuple[str, str, float]]
    seconds: float


def cluster_videos(
    videos: Path,
    runs: Sequence[Path],
    out: Path,
    clusters: int | None = None,
    how: How = "kmeans",
    strength: float = 1.0,
    whiten: bool = True,
    alike: float = 0.99,
    views: Views = Views(clips=3, num_frames=8, step=0.2, size=64),  # noqa: B008
    seeds: tuple[int, ...] = (0,),
    sheet_videos: int = 24,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
    seed: int = 0,
) -> ClusterResults:
    """Cluster a collection; write ``cluster.json``, tables, a contact sheet per cluster, and pages into ``out``.

    ``clusters.csv`` has the cluster of each video by the first run's features, ``index.html`` shows the sheets, and
    ``groups.csv`` has near duplicates as groups for ``avssl index --labels``. Labels, if there are any, are only what
    clusters are compared with.

    Args:
        videos: folder or manifest.
        runs: run or export folders.
        out: folder of the results.
        clusters: number of clusters; by default the one with the largest silhouette.
        how: method, see `avssl.applications.cluster.grouping.cluster`.
        strength: lambda of ``self_expressive``.
        whiten: cluster whitened principal components (DeepCluster), otherwise standardised features, which
            ``self_expressive`` always takes: what is whitened has no subspaces left.
        alike: cosine of standardised mean features above which two videos are near duplicates.
        views: clips of each video, whose features are averaged.
        seeds: of the untrained networks.
        sheet_videos: videos on a sheet, half of them those nearest to the centre.
        machine: device, workers and cache.
        encoder: an encoder instead of the run's; see `avssl.evaluation.run.evaluate`.
        seed: of the clustering.

    Raises:
        FileNotFoundError, MediaError: if a run, the collection or a video can't be read.
        ValueError: if there are too few videos or groups, or too many for the method.
    """
    begun = time.perf_counter()
    options = {"clusters": clusters, "strength": strength, "alike": alike, "sheet_videos": sheet_videos}
    check_ranges("", options, clusters="[2, inf)", strength="(0, inf)", alike="(0, 1)", sheet_videos="[2, inf)")
    collection = open_manifest(videos)
    units = np.unique(np.asarray(collection.units().to_pylist()), return_inverse=True)[1]
    if units.max() < 2:
        raise ValueError(
            f"{videos}: {len(collection)} video(s) in {units.max() + 1} group(s); clusters and their stability need at "
            "least three groups"
        )
    labels = class_numbers(collection)
    every = describe_collection(collection, runs, views, machine, seeds, encoder)
    found: dict[str, Clustering] = {}
    first: tuple[Floats, Ints] | None = None
    for each in every:
        parts = [_clustered(values, units, labels, clusters, how, strength, whiten, seed) for values in each.features]
        found[each.name] = parts[0][0] if len(parts) == 1 else _mean([part for part, _, _ in parts])
        first = first or parts[0][1:]
    assert first is not None
    vectors, own = first
    sets, pairs = near_duplicates(standardised(every[0].features[0]), alike)
    keys = collection.keys.to_pylist()
    results = ClusterResults(
        videos=len(collection),
        labelled=int((labels >= 0).sum()),
        classes=len(np.unique(labels[labels >= 0])),
        views=plain(views),
        how=how,
        found=found,
        alike=alike,
        duplicates=[(keys[one], keys[other], round(cosine, 5)) for one, other, cosine in pairs],
        seconds=round(time.perf_counter() - begun, 1),
    )
    write_text(out / "cluster.json", json.dumps(to_json(results), indent=1))
    _write_tables(collection, vectors, own, sets, out)
    _picture(results, out / "cluster.png")
    title = f"{found[every[0].name].clusters} clusters of {len(collection)} videos by {every[0].name}"
    _browse(collection, vectors, own, title, sheet_videos // 2, out)
    return results


def _clustered(
    values: Floats, units: Ints, labels: Ints, count: int | None, how: How, strength: float, whiten: bool, seed: int
) -> tuple[Clustering, Floats, Ints]:
    vectors = unit(values) if whiten and how != "self_expressive" else standardised(values)
    tried: dict[int, float] | None = None
    if count is None:
        count, tried = choose(vectors, how, strength, seed)
    own, number = cluster(vectors, count, how, strength, seed), count
    part = stability(lambda rows: cluster(vectors[rows], number, how, strength, seed), own, units.tolist(), seed)
    known = labels >= 0
    compared = len(np.unique(labels[known])) > 1
    made = Clustering(
        clusters=count,
        sizes=np.bincount(own, minlength=count).tolist(),
        stability=part,
        silhouette=None if tried is None else {str(number): value for number, value in tried.items()},
        scores=against_labels(labels[known], own[known], units[known].tolist(), seed) if compared else None,
        chance=by_chance(labels[known], own[known], seed) if compared else None,
    )
    return made, vectors, own


def _mean(parts: Sequence[Clustering]) -> Clustering:
    """Average the clusterings of several seeds of an untrained network; intervals are averaged too."""

    def mean(scores: Sequence[Score]) -> Score:
        low, high = np.mean([score.ci95_bootstrap for score in scores], axis=0).tolist()
        return Score(float(np.mean([score.value for score in scores])), (low, high))

    scored = [part.scores for part in parts if part.scores is not None]
    chances = [part.chance for part in parts if part.chance is not None]
    return Clustering(
        clusters=parts[0].clusters,
        sizes=parts[0].sizes,
        stability=mean([part.stability for part in parts]),
        silhouette=parts[0].silhouette,
        scores={name: mean([each[name] for each in scored]) for name in scored[0]} if scored else None,
        chance={name: float(np.mean([each[name] for each in chances])) for name in chances[0]} if chances else None,
    )


def _write_tables(videos: Manifest, vectors: Floats, own: Ints, sets: Ints, out: Path) -> None:
    centres = np.stack([vectors[own == number].mean(0) for number in range(own.max() + 1)])
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "cluster", "cosine"])
    cosine = (vectors * centres[own]).sum(1) / np.maximum(np.linalg.norm(centres[own], axis=1), 1e-12)
    for key, number, value in zip(videos.keys.to_pylist(), own.tolist(), cosine.tolist(), strict=True):
        rows.writerow([key, number, f"{value:.4f}"])
    write_text(out / "clusters.csv", text.getvalue())
    write_text(out / "groups.csv", groups_table(videos, sets))


def _browse(videos: Manifest, vectors: Floats, own: Ints, title: str, count: int, out: Path) -> None:
    """Draw a contact sheet per cluster, and write the page that shows them."""
    labels = videos.column("label").to_pylist()
    parts = []
    for number in range(own.max() + 1):
        near, far = members(vectors, own, number, count)
        size = int((own == number).sum())
        file = f"cluster_{number:02d}.png"
        words = f"cluster {number}: {size} videos, the {len(near)} nearest to its centre" + (
            f" and the {len(far)} farthest" if far else ""
        )
        sheet(videos, [*near, *far], words, out / file)
        named = Counter(label for label, mine in zip(labels, own == number, strict=True) if mine and label is not None)
        shown = ", ".join(f"{label} {times}" for label, times in named.most_common(5))
        parts.append((f"cluster {number}", file, f"{size} videos. {shown}"))
    write_page(title, parts, out / "index.html")


def _picture(results: ClusterResults, path: Path) -> None:
    """Draw stability, and the scores against labels with chance, of each kind of features."""
    names = ["stability", *(next(iter(results.found.values())).scores or ())]
    figure = Figure(figsize=(1 + 2.6 * len(names), 1.2 + 0.4 * len(results.found)), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        for place, found in enumerate(results.found.values()):
            score = found.stability if name == "stability" else (found.scores or {})[name]
            chance = 0.0 if name == "stability" else (found.chance or {})[name]
            axes.plot(score.ci95_bootstrap, [place, place], color="C0", lw=3, alpha=0.5)
            axes.plot(score.value, place, "o", color="C0")
            axes.plot([chance] * 2, [place - 0.35, place + 0.35], color="black", ls=":", lw=1)
        axes.set_title(name, size=9)
        axes.set_xlim(-0.1, 1.0)
        axes.tick_params(labelsize=7)
    figure.axes[0].set_yticks(range(len(results.found)), list(results.found), size=8)
    figure.axes[0].invert_yaxis()
    figure.supxlabel("dotted: chance", size=8)
    write_atomically(path, FigureCanvasAgg(figure).print_png)


def print_clusters(results: ClusterResults, console: Console | None = None) -> None:
    """Print stability and scores with their 95 % intervals, and near duplicates."""
    console = console or Console(width=120)
    names = list(next(iter(results.found.values())).scores or ())
    headings = [heading for name in names for heading in (name, "chance")]
    title = f"{results.videos} videos, {results.how}" + (f"; {results.classes} classes" if names else "; no labels")
    table = Table("features", "clusters", "stability", *headings, title=title)
    for who, found in results.found.items():
        cells = [
            text for name in names for text in (cell((found.scores or {})[name]), f"{(found.chance or {})[name]:.3f}")
        ]
        table.add_row(who, str(found.clusters), cell(found.stability), *cells)
    console.print(table)
    console.print(f"{len(results.duplicates)} pairs of near duplicates (cosine above {results.alike:g})")
    for one, other, cosine in results.duplicates[:5]:
        console.print(f"  {cosine:.4f}  {one}  {other}")
