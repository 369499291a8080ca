"""Pictures of what `find_splice` found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avssl.applications.splice.affinity import Grid
from avssl.applications.splice.results import Examined
from avssl.runtime.files import room_in

SHOWN = 4  # frames


def draw(found: Sequence[Examined], grid: Grid, attributes: Sequence[str], path: Path) -> None:
    """Draw frames with their scores, the affinities of all patches, each attribute, and scores over time.

    Of a video, the frame of the highest score is drawn, and some others.
    """
    from matplotlib.figure import Figure

    scores = np.array([one.scores.score for one in found])
    even = np.linspace(0, len(found) - 1, min(SHOWN, len(found))).round().astype(int)
    chosen = sorted({int(scores.argmax()), *even.tolist()})[: SHOWN + 1]
    columns = 3 + min(len(attributes), 8)
    figure = Figure(figsize=(2.6 * columns, 2.5 * (len(chosen) + (len(found) > 1)) + 0.3), layout="constrained")
    places = figure.add_gridspec(len(chosen) + (len(found) > 1), columns)
    for row, number in enumerate(chosen):
        one = found[number]
        frame = one.frame.permute(1, 2, 0).cpu().numpy()
        axes = figure.add_subplot(places[row, 0])
        axes.imshow(frame)
        axes.set_title(f"{one.scores.seconds:.2f} s: {one.scores.score:.3f}", fontsize=9)
        axes.axis("off")
        axes = figure.add_subplot(places[row, 1])
        axes.imshow(frame.mean(2), cmap="gray")
        drawn = axes.imshow(one.map, cmap="inferno", vmin=0, vmax=1, alpha=0.7)
        axes.set_title("does not go with most", fontsize=9)
        axes.axis("off")
        figure.colorbar(drawn, ax=axes, fraction=0.04)
        axes = figure.add_subplot(places[row, 2])
        axes.imshow(one.affinity[-1], cmap="gray", vmin=0, vmax=1)
        axes.set_title("patch by patch: same camera?", fontsize=9)
        axes.tick_params(labelsize=7)
        shape = len(grid.tops), len(grid.lefts)
        for column, name in enumerate(attributes[: columns - 3]):
            axes = figure.add_subplot(places[row, 3 + column])
            part = np.array([patch.attributes[name] for patch in one.scores.patches]).reshape(shape)
            axes.imshow(part, cmap="inferno", vmin=0, vmax=1)
            axes.set_title(name, fontsize=9)
            axes.axis("off")
    if len(found) > 1:
        axes = figure.add_subplot(places[-1, :])
        axes.plot([one.scores.seconds for one in found], scores, marker=".")
        axes.set_xlabel("seconds", fontsize=8)
        axes.set_ylabel("score", fontsize=8)
        axes.tick_params(labelsize=7)
    with room_in(path.parent):
        figure.savefig(path, dpi=80)
