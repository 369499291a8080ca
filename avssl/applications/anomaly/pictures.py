"""Pictures of what is odd: areas by class, curves over videos, a sheet of the oddest moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from avssl.evaluation.results import Score
from avssl.runtime.files import write_atomically


def areas_picture(
    per_class: Mapping[str, Mapping[str, Score]], mean: Mapping[str, Score], name: str, path: Path
) -> None:
    """Draw the mean area of each detector with its interval, and that of each class as a dot."""
    figure = Figure(figsize=(8.0, 1.2 + 0.34 * len(mean)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for place, (detector, score) in enumerate(mean.items()):
        axes.plot(score.ci95_bootstrap, [place, place], color="C0", lw=3, alpha=0.5)
        axes.plot(score.value, place, "o", color="C0")
        values = [one.value for one in per_class[detector].values()]
        axes.plot(values, [place] * len(values), "|", color="0.4", ms=9)
    axes.axvline(0.5, color="black", ls=":", lw=0.8)
    axes.set_yticks(range(len(mean)), list(mean), size=8)
    axes.invert_yaxis()
    axes.set_xlabel("AUROC: dots, mean over classes with its 95 % interval; strokes, classes; dotted, chance", size=8)
    axes.set_title(name, size=9)
    _save(figure, path)


def curves_picture(
    curves: Sequence[tuple[str, Sequence[float], Sequence[float], Sequence[tuple[float, float]]]],
    threshold: float,
    path: Path,
) -> None:
    """Draw scores over the seconds of some videos: name, seconds, scores, and spans known to be odd, shaded."""
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.0 * columns, 2.0 * rows + 0.4), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    for axes, (name, seconds, scores, spans) in zip(grid, curves, strict=False):
        axes.plot(seconds, scores, "o-", ms=2.5, lw=1)
        axes.axhline(threshold, color="firebrick", lw=0.8, ls="--")
        for start, stop in spans:
            axes.axvspan(start, stop, color="gold", alpha=0.4, lw=0)
        axes.set_title(name, size=7)
        axes.tick_params(labelsize=6)
    figure.supxlabel("seconds (yellow: known to be odd)", size=8)
    figure.supylabel("oddity (dashed: threshold)", size=8)
    _save(figure, path)


def sheet_picture(pictures: Sequence[Sequence[Tensor]], titles: Sequence[str], path: Path) -> None:
    """Draw the oddest moments, one a row: a title, and frames uint8 ``[3, H, W]`` in their order."""
    columns = max(len(row) for row in pictures)
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(pictures)), dpi=110, layout="constrained")
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for row, images, title in zip(grid, pictures, titles, strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])  # even ticks that are not shown are laid out, which takes most of the time
            axes.set_axis_off()
        for axes, image in zip(row, images, strict=False):
            axes.imshow(np.moveaxis(image.numpy(), 0, 2))
        row[0].set_title(title, size=7, loc="left")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, FigureCanvasAgg(figure).print_png)
