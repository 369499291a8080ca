"""Pictures: methods side by side, confusion matrices, low-shot curves, maps, neighbours, offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from avssl.evaluation.learning_curve import power
from avssl.evaluation.report import BASELINES, chance_level, grouped
from avssl.evaluation.results import Results, Summary
from avssl.runtime.files import write_atomically

if TYPE_CHECKING:
    from avssl.evaluation.calibration import Calibration
    from avssl.evaluation.learning_curve import Curve
    from avssl.sync.offset import Offset

NAMED = 30  # largest number of classes with names on an axis
LISTED = 8  # largest number of recordings in a legend
CURVES = {
    ("pretrained", "low_shot"): ("pretrained, linear on frozen features", "C0", "-"),
    ("random_init", "low_shot"): ("random initialisation, linear on frozen features", "C7", "-"),
    ("pretrained", "low_shot_fine_tune"): ("pretrained, fine-tuned", "C0", "--"),
    ("from_scratch", "low_shot_fine_tune"): ("from scratch, same budget", "C1", "--"),
}


def comparison_picture(results: Sequence[Results], path: Path) -> None:
    """Draw methods side by side, grouped by network, the best by the first read-out first.

    Each dot is a run, with its 95 % interval; the grey band is the interval of the same network at random
    initialisation, or trained from scratch where a read-out trains the network.

    Args:
        results: of one protocol, see `avssl.evaluation.report.collect`.
        path: PNG file to write.

    Raises:
        ValueError: if no read-out predicts the classes of every video.
    """
    groups = grouped(results)
    every = {name: None for runs in groups.values() for run in runs for name in run}
    names = [name for name in every if name.endswith((" top1", " mAP")) and "_ordered " not in name]
    if not names:
        raise ValueError("a picture needs a read-out that predicts the classes of every video; these results have none")
    networks: dict[str, list[str]] = {}
    for method, network in groups:
        networks.setdefault(network, [])
        if method not in BASELINES:
            networks[network].append(method)

    def score(method: str, network: str) -> float:
        return mean([run[names[0]].value for run in groups[method, network] if names[0] in run] or [0.0])

    figure = Figure(figsize=(2 + 2.4 * len(names), 0.6 + 0.22 * (len(groups) + len(networks))), dpi=110)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    labels, line = [], 0
    for network, methods in networks.items():
        labels.append((line, network))
        rows = sorted(methods, key=lambda method: -score(method, network))
        for axes, name in zip(panels, names, strict=True):
            bands = [run[name] for who in BASELINES for run in groups.get((who, network), []) if name in run]
            if bands:
                height = [line + 0.4, line + len(rows) + 0.6]
                axes.fill_betweenx(height, *bands[0].ci95_bootstrap, color="0.85", lw=0)
                axes.plot([bands[0].value] * 2, height, color="0.5", lw=1)
            for place, method in enumerate(rows, line + 1):
                found = [run[name] for run in groups[method, network] if name in run]
                for number, dot in enumerate(found):
                    y = place + 0.3 * (number - (len(found) - 1) / 2)
                    axes.plot(dot.ci95_bootstrap, [y, y], color="C0", lw=0.8)
                    axes.plot(dot.value, y, "o", color="C0", ms=3)
        labels += list(enumerate(rows, line + 1))
        line += len(rows) + 1
    panels[0].set_yticks([place for place, _ in labels], [word for _, word in labels], size=7)
    panels[0].set_ylim(line, -0.6)
    for tick, (_, word) in zip(panels[0].get_yticklabels(), labels, strict=True):
        tick.set_weight("bold" if word in networks else "normal")
    for axes, name in zip(panels, names, strict=True):
        axes.axvline(chance_level(results[0], name), color="black", lw=0.8, ls=":")
        axes.set_title(name, size=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", lw=0.3)
    measure = "mean average precision" if names[0].endswith(" mAP") else "accuracy"
    figure.supxlabel(f"{measure}; grey: random initialisation, for fine_tune from scratch; dotted: chance", size=8)
    _save(figure, path)


def confusion_picture(counts: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix ``counts[true][predicted]``, rows scaled to 1."""
    matrix = np.asarray(counts, dtype=float)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure, axes = _figure(1.5 + 0.45 * min(len(classes), NAMED))
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= NAMED:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        for row, column in np.ndindex(share.shape):
            if matrix[row, column]:
                colour = "white" if share[row, column] > 0.6 else "black"
                axes.text(column, row, f"{share[row, column]:.2f}", ha="center", va="center", color=colour, size=7)
    _save(figure, path)


def low_shot_picture(results: Results, path: Path) -> None:
    """Draw video accuracy over labels per class, with 95 % intervals."""
    figure, axes = _figure(5.0)
    for (who, what), (words, colour, style) in CURVES.items():
        found = results.outcomes.get(who, {}).get(what, {})
        assert isinstance(found, Mapping)
        rows = {int(shots): row.top1 for shots, row in found.items() if isinstance(row, Summary)}
        if rows:
            shots = sorted(rows)
            low, high = np.array([rows[n].ci95_bootstrap for n in shots]).T
            axes.plot(shots, [rows[n].value for n in shots], style, color=colour, marker="o", label=words)
            axes.fill_between(shots, low, high, color=colour, alpha=0.12)
    axes.axhline(results.chance["top1"], color="black", lw=0.8, ls=":", label="chance")
    axes.set_xscale("log")
    ticks = results.settings["low_shot"]["shots"]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("labels per class")
    axes.set_ylabel("video accuracy")
    axes.set_title(results.protocol["name"], size=9)
    axes.legend(fontsize=7)
    _save(figure, path)


def curve_picture(curve: Curve, chance: float, path: Path) -> None:
    """Draw accuracy over labels per class with 95 % intervals, and dashed what the fitted curve says of more."""
    figure, axes = _figure(5.0)
    low, high = np.array(curve.ci95).T
    axes.errorbar(
        curve.shots,
        curve.accuracy,
        [np.subtract(curve.accuracy, low).clip(0), np.subtract(high, curve.accuracy).clip(0)],
        fmt="o",
        color="C0",
        capsize=3,
        label="measured",
    )
    for begin, end, style, words in (
        (curve.shots[0], curve.shots[-1], "-", "fitted"),
        (curve.shots[-1], curve.ahead[-1], "--", "extrapolated"),
    ):
        counts = np.geomspace(begin, max(begin, end), 50)
        axes.plot(counts, 1 - power(counts, curve.fitted), style, color="C0", label=words)
    gains = np.array(curve.gained) + curve.reached[0]
    axes.fill_between([curve.labels, *curve.ahead], *np.vstack([[curve.reached[0]] * 2, gains]).T, alpha=0.12, lw=0)
    axes.axhline(chance, color="black", lw=0.8, ls=":", label="chance")
    ticks = sorted({*curve.shots, curve.labels, *curve.ahead})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [str(tick) for tick in ticks], size=7)
    axes.minorticks_off()
    axes.set_xlabel("labels per class")
    axes.set_ylabel("video accuracy")
    axes.legend(fontsize=7)
    _save(figure, path)


def reliability_picture(calibration: Calibration, path: Path) -> None:
    """Draw how often predictions are right over the probability that they state, before and after the temperature."""
    figure = Figure(figsize=(8.0, 4.0), dpi=110, layout="constrained")
    titles = {"before": calibration.before, f"with the temperature {calibration.temperature:.2f}": calibration.after}
    for axes, (title, found) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        count, stated, right = (np.asarray(part) for part in (found.count, found.stated, found.right))
        width, used = 1 / len(count), count > 0
        axes.bar((np.flatnonzero(used) + 0.5) * width, right[used], 0.95 * width, color="C0", alpha=0.6)
        axes.plot(stated[used], right[used], "o", color="C0", ms=4)
        for place in np.flatnonzero(used):
            axes.text((place + 0.5) * width, 0.01, str(count[place]), ha="center", size=6)
        axes.plot([0, 1], [0, 1], ":", color="black", lw=0.8)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_title(f"{title}: calibration error {found.error:.3f}", size=9)
        axes.set_xlabel("stated probability (numbers: predictions)", size=8)
    figure.axes[0].set_ylabel("share that is right", size=8)
    _save(figure, path)


def map_picture(points: NDArray[np.float32], labels: Sequence[int], classes: Sequence[str], path: Path) -> None:
    """Draw a map of an embedding from points ``[V, 2]``: one dot per video, coloured by class."""
    figure, axes = _figure(6.0)
    for number, name in enumerate(classes):
        chosen = points[np.asarray(labels) == number]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=14, color=_colour(number, len(classes)), label=name)
    if len(classes) <= NAMED:
        axes.legend(fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])
    _save(figure, path)


def neighbours_picture(pictures: Sequence[Sequence[Tensor]], titles: Sequence[Sequence[str]], path: Path) -> None:
    """Draw each query and then its nearest videos in a row, by one titled frame each, uint8 ``[3, H, W]``."""
    figure = Figure(figsize=(1.7 * len(pictures[0]), 1.9 * len(pictures)), dpi=110, layout="constrained")
    grid = figure.subplots(len(pictures), len(pictures[0]), squeeze=False)
    for row, (images, words) in enumerate(zip(pictures, titles, strict=True)):
        for column, (image, text) in enumerate(zip(images, words, strict=True)):
            axes = grid[row, column]
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_title(text, size=6, color="black" if text == words[0] else "firebrick")
            axes.set(xticks=[], yticks=[])  # even ticks that are not shown are laid out, which takes most of the time
            axes.set_axis_off()
    _save(figure, path)


def doubt_picture(pictures: Sequence[Tensor], titles: Sequence[str], path: Path) -> None:
    """Draw one titled frame each, uint8 ``[3, H, W]``, of videos to label next, row by row."""
    columns = min(6, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2.1 * columns, 2.5 * rows + 0.3), dpi=110, layout="constrained")
    figure.suptitle("least certain first: label these next", size=9)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    for axes, image, text in zip(grid, pictures, titles, strict=False):
        axes.imshow(image.permute(1, 2, 0).numpy())
        axes.set_title(text, size=6)
    _save(figure, path)


def offset_picture(found: Mapping[str, Offset], path: Path) -> None:
    """Draw the distance curves of some recordings, by their text in the legend; of many, pale ones and offsets."""
    figure, axes = _figure(6.0)
    many = len(found) > LISTED
    for number, (name, offset) in enumerate(found.items()):
        drawn, colour = offset.curve, "C0" if many else f"C{number % 10}"
        axes.plot(1000 * drawn.offsets.numpy(), drawn.distances.numpy(), colour, alpha=0.2 if many else 1)
        if not many:
            axes.axvline(1000 * offset.seconds, color=colour, ls=":", label=name)
    if many:
        offsets = [1000 * offset.seconds for offset in found.values()]
        axes.plot(
            offsets, [0] * len(found), "|", color="C1", ms=12, transform=axes.get_xaxis_transform(), clip_on=False
        )
        axes.set_title(f"{len(found)} recordings; marks below: their offsets")
    axes.axvline(0, color="grey", lw=0.5)
    axes.set_xlabel("offset in ms: negative, sound early; positive, sound late")
    axes.set_ylabel("distance between picture and sound")
    if not many:
        axes.legend(fontsize=7)
    _save(figure, path)


def _colour(number: int, classes: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab10"](number) if classes <= 10 else colormaps["gist_ncar"](number / classes)


def _figure(size: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(size, size), dpi=110, layout="constrained")
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, FigureCanvasAgg(figure).print_png)
