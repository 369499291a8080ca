"""Contact sheets of clusters, and a page to browse them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from avssl.catalog.manifest import Manifest
from avssl.evaluation.readout import Floats, Ints
from avssl.media import open_video
from avssl.runtime.files import write_atomically, write_text

HEIGHT = 96  # of a picture, in pixels
COLUMNS = 8


def members(vectors: Floats, clusters: Ints, number: int, count: int) -> tuple[list[int], list[int]]:
    """Return the rows of a cluster nearest to its centre, and those farthest from it, ``count`` of each at most."""
    rows = np.flatnonzero(clusters == number)
    order = rows[np.argsort(-(vectors[rows] @ vectors[rows].mean(0)), kind="stable")].tolist()
    near = order[:count]
    return near, [row for row in order[-count:] if row not in near]


def sheet(videos: Manifest, rows: Sequence[int], title: str, path: Path) -> None:
    """Draw the middle frame of some videos, with their paths."""
    lines = -(-len(rows) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 1.7 * lines + 0.3), dpi=100, layout="constrained")
    figure.suptitle(title, size=9)
    keys = videos.keys.to_pylist()
    for place in range(lines * COLUMNS):
        axes = figure.add_subplot(lines, COLUMNS, place + 1)
        axes.set(xticks=[], yticks=[])  # even ticks that are not shown are laid out, which takes most of the time
        axes.set_axis_off()
        if place < len(rows):
            axes.imshow(middle(videos, rows[place]).permute(1, 2, 0).numpy())
            axes.set_title(keys[rows[place]][-28:], size=5)
    write_atomically(path, FigureCanvasAgg(figure).print_png)


def middle(videos: Manifest, row: int) -> Tensor:
    """Read the middle frame of a video, uint8 ``[3, H, W]``."""
    info = videos[row]
    size = (HEIGHT, round(HEIGHT * info.size[1] / info.size[0]))
    with open_video(info.path, info=info) as reader:
        return reader.frames(torch.tensor([info.duration / 2], dtype=torch.float64), size=size)[0]


def write_page(title: str, pictures: Sequence[tuple[str, str, str]], path: Path) -> None:
    """Write a page of pictures: of each a heading, the file beside the page, and words below."""
    parts = [
        f'<h2 id="{number}">{html.escape(heading)}</h2>\n<p>{html.escape(words)}</p>\n'
        f'<img src="{html.escape(file)}" alt="{html.escape(heading)}">\n'
        for number, (heading, file, words) in enumerate(pictures)
    ]
    links = " ".join(
        f'<a href="#{number}">{html.escape(heading)}</a>' for number, (heading, _, _) in enumerate(pictures)
    )
    style = "body { font-family: sans-serif; max-width: 75em; margin: auto } img { max-width: 100% }"
    write_text(
        path,
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style>\n<h1>{html.escape(title)}</h1>\n<p>{links}</p>\n{''.join(parts)}</html>\n",
    )
