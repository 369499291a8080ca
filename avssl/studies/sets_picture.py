"""Picture of a study over several sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avssl.runtime.files import write_atomically
from avssl.studies.sets_results import Found


def gains_picture(found: Found, path: Path) -> None:
    """Draw methods by sets, a panel for each read-out: the gain over the untrained network with its interval.

    Methods without an untrained network (hand-made features, weights of other libraries) are in the panel of
    accuracies below, where every method is.
    """
    sets, methods = list(found.results), found.methods
    columns = len(found.read_outs)
    figure = Figure(figsize=(2.2 + 2.6 * columns, 1.4 + 0.5 * len(methods) * len(sets) / 2), dpi=110)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(2, columns, squeeze=False, sharey=True)
    for column, read_out in enumerate(found.read_outs):
        for place, on in enumerate(sets):
            for row, method in enumerate(methods):
                y = row + 0.6 * (place / max(1, len(sets) - 1) - 0.5)
                colour = f"C{place}"
                if (score := found.gain(on, method, read_out)) is not None:
                    panels[0, column].plot(score.ci95_bootstrap, [y, y], color=colour, lw=0.8)
                    panels[0, column].plot(score.value, y, "o", color=colour, ms=3)
                for one in found.runs(on, method, read_out):
                    panels[1, column].plot(one.top1.ci95_bootstrap, [y, y], color=colour, lw=0.8)
                    panels[1, column].plot(one.top1.value, y, "o", color=colour, ms=3)
        panels[0, column].axvline(0, color="0.5", lw=1)
        panels[0, column].set_title(read_out, fontsize=9)
        panels[0, column].set_xlabel("gain over untrained", fontsize=8)
        panels[1, column].set_xlabel("accuracy", fontsize=8)
        panels[1, column].set_xlim(0, 1)
    for axes in panels.flat:
        axes.set_yticks(np.arange(len(methods)), methods, fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    marks = [panels[0, 0].plot([], [], "o", color=f"C{place}", ms=3, label=on)[0] for place, on in enumerate(sets)]
    figure.legend(handles=marks, loc="outside lower center", ncols=max(1, len(sets)), fontsize=8)
    canvas = FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, canvas.print_png)
