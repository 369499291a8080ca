"""Pictures of an advice."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from avssl.catalog.manifest import Manifest
from avssl.evaluation.results import Score
from avssl.media import open_video
from avssl.runtime.files import write_atomically

PICTURE = 112  # pixels of the height of a picture
MOMENTS = 6  # pictures of a video


def moments(videos: Manifest, rows: Sequence[int], path: Path) -> Path:
    """Draw some videos, one per row, at moments spread over them."""
    pictures, titles = [], []
    for row in rows:
        info = videos[row]
        count = 1 if info.container == "image" else MOMENTS
        times = (torch.arange(count, dtype=torch.float64) + 0.5) / count * info.duration
        pictures.append(list(frames(videos, row, times)))
        titles.append(
            [f"{time:.1f} s" if number else info.path.name[:24] for number, time in enumerate(times.tolist())]
        )
    return in_rows(pictures, titles, path)


def frames(videos: Manifest, row: int, times: Tensor) -> Tensor:
    """Return the pictures of a video at some seconds, uint8 ``[T, 3, PICTURE, W]``."""
    info = videos[row]
    size = (PICTURE, max(1, round(PICTURE * info.size[1] / info.size[0])))
    with open_video(info.path, info=info) as reader:
        return reader.frames(times, size=size)


def in_rows(pictures: Sequence[Sequence[Tensor]], titles: Sequence[Sequence[str]], path: Path) -> Path:
    """Draw rows of titled pictures, uint8 ``[3, H, W]``."""
    columns = max(map(len, pictures))
    figure = Figure(figsize=(1.7 * columns, 1.7 * len(pictures)), dpi=100, layout="constrained")
    grid = figure.subplots(len(pictures), columns, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])  # even ticks that are not shown are laid out, which takes most of the time
        axes.set_axis_off()
    for line, images, words in zip(grid, pictures, titles, strict=True):
        for axes, image, text in zip(line, images, words, strict=False):
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_title(text, size=6)
    return _save(figure, path)


def lengths_and_motion(videos: Manifest, path: Path) -> Path:
    """Draw how long and how lively the videos are."""
    figure = Figure(figsize=(8.0, 2.6), dpi=100, layout="constrained")
    first, second = figure.subplots(1, 2)
    first.hist(videos.column("duration").to_numpy(), bins=30, color="C0")
    first.set_xlabel("seconds")
    first.set_ylabel("videos")
    motion = [
        np.frombuffer(raw or b"\0\0", np.float16).astype(float).mean() for raw in videos.column("motion").to_pylist()
    ]
    second.hist(motion, bins=30, color="C1")
    second.set_xlabel("motion (grey difference per 1/8 s, of 1)")
    return _save(figure, path)


def accuracies(found: Mapping[str, Score], chance: float, path: Path) -> Path:
    """Draw accuracies with their intervals, one per line, and chance."""
    figure = Figure(figsize=(8.0, 0.7 + 0.36 * len(found)), dpi=100, layout="constrained")
    axes = figure.subplots()
    for place, score in enumerate(reversed(list(found.values()))):
        low, high = score.ci95_bootstrap
        axes.plot([low, high], [place, place], color="C0", lw=2)
        axes.plot(score.value, place, "o", color="C0")
    axes.axvline(chance, color="black", ls=":", lw=0.8)
    axes.text(chance, len(found) - 0.4, " chance", size=7)
    axes.set_yticks(range(len(found)), [*reversed(list(found))], size=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, len(found) - 0.1)
    axes.set_xlabel("accuracy over outer folds, 95 % interval")
    return _save(figure, path)


def losses(runs: Mapping[str, Path], path: Path) -> Path | None:
    """Draw the training loss of each run relative to its first; None if nothing is logged."""
    figure = Figure(figsize=(8.0, 3.2), dpi=100, layout="constrained")
    axes = figure.subplots()
    for name, file in runs.items():
        points = logged(file, "train/loss")
        if points:
            steps, values = np.array(points).T
            axes.plot(steps, values / max(abs(values[0]), 1e-9), label=name, lw=1)
    if not axes.lines:
        return None
    axes.set_xlabel("steps")
    axes.set_ylabel("loss, of the first logged")
    axes.legend(fontsize=7)
    return _save(figure, path)


def logged(file: Path, column: str) -> list[tuple[int, float]]:
    """Return the steps and values of a metric in a run's ``metrics.csv``."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [(int(row["step"]), float(row[column])) for row in csv.DictReader(lines) if row.get(column)]


def times_spent(seconds: Mapping[str, float], path: Path) -> Path:
    """Draw what the time was spent on."""
    figure = Figure(figsize=(8.0, 1.6), dpi=100, layout="constrained")
    axes = figure.subplots()
    left = 0.0
    for number, (name, each) in enumerate(seconds.items()):
        axes.barh(0, each / 60, left=left / 60, color=f"C{number % 10}", label=f"{name}: {each / 60:.1f}")
        left += each
    axes.set_yticks([])
    axes.set_xlabel("minutes")
    axes.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, FigureCanvasAgg(figure).print_png)
    return path
