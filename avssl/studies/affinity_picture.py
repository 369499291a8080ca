"""Picture of affinities: the matrix, a tree of the targets and one of the encoders, and how alike encoders are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from avssl.runtime.files import write_atomically
from avssl.studies.affinity_results import Affinity


def affinity_picture(found: Affinity, path: Path) -> None:
    """Draw the affinities, the tree of targets by their columns, and the first measure of likeness with its tree."""
    sources, targets = len(found.sources), len(found.targets)
    figure = Figure(figsize=(7 + 0.5 * targets + 0.35 * sources, 3.5 + 0.6 * sources), dpi=110)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, 2, squeeze=False)
    logs = np.log(found.affinity)
    _matrix(panels[0, 0], found.affinity, found.sources, found.targets, "normalised affinity")
    columns = np.nan_to_num(np.corrcoef(logs.T)) if sources > 2 else np.eye(targets)
    _tree(panels[0, 1], 1 - columns, found.targets, "targets, by which encoders serve them")
    name, alike = next(iter(found.alike.items()))
    _matrix(panels[1, 0], alike, found.sources, found.sources, f"how alike encoders are ({name})")
    _tree(panels[1, 1], 1 - alike, found.sources, f"encoders, by {name}")
    write_atomically(path, FigureCanvasAgg(figure).print_png)


def _matrix(axes: Axes, values: NDArray[np.float64], rows: list[str], columns: list[str], title: str) -> None:
    axes.imshow(values, cmap="Blues", vmin=0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", size=7)
    axes.set_yticks(range(len(rows)), rows, size=7)
    for (row, column), value in np.ndenumerate(values):
        dark = value > 0.6 * values.max()
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", size=6, color="white" if dark else "black")
    axes.set_title(title, size=9)


def _tree(axes: Axes, apart: NDArray[np.float64], names: list[str], title: str) -> None:
    axes.set_title(title, size=9)
    if len(names) < 2:
        axes.set_axis_off()
        return
    distances = np.clip((apart + apart.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    links = linkage(squareform(distances, checks=False), "average")
    dendrogram(links, labels=names, orientation="right", ax=axes, leaf_font_size=7, color_threshold=0)
    axes.tick_params(axis="x", labelsize=7)
