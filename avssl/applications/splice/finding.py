"""Find what in a picture or a video was put there from another one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from avssl.applications.splice.affinity import (
    Grid,
    Merge,
    affinities,
    apart,
    inconsistency,
    laplacian_energy,
    merged,
)
from avssl.applications.splice.drawing import draw
from avssl.applications.splice.results import Examined, FrameScores, Patch, SpliceResult
from avssl.media import VideoInfo, open_video, probe
from avssl.methods import CameraConsistency
from avssl.runtime.files import write_text
from avssl.runtime.progress import Tally
from avssl.training.config import parse
from avssl.training.sheet import load_method


def find_splice(
    path: Path,
    run: Path,
    folder: Path,
    merge: Merge = "mean_shift",
    stride: int | None = None,
    every: float = 0.5,
    most: int = 100,
) -> SpliceResult:
    """Compare all patches of a picture, or of a video's frames, and write ``splice.json`` and a picture.

    Frames are taken at their own resolution, as scaling would change the traces of their cameras.

    Args:
        path: picture or video.
        run: run of `CameraConsistency`.
        folder: to write.
        merge: see `merged`.
        stride: pixels between patches; by default a third of their size, or so many that there are 400 patches.
        every: seconds between frames of a video.
        most: frames, at most; a longer video is sampled more sparsely.

    Raises:
        MediaError: if it can't be read.
        ValueError: if the run is of another method, frames are too small, or a number is out of range.
    """
    if not every > 0 or most < 1:
        raise ValueError(f"expected every > 0 and most >= 1, got {every} and {most}")
    method = load(run)
    info = probe(path)
    grid = Grid.over(info.size, method.size, stride)
    times = moments(info, every, most)
    found: list[Examined] = []
    with Tally("Comparing patches", len(times)) as tally:
        for seconds, frame in frames_of(info, times):
            found.append(examine(method, frame, grid, merge, seconds))
            tally.add("frames")
    scores = [one.scores for one in found]
    worst = max(scores, key=lambda one: one.score)
    picture = folder / "splice.png"
    folder.mkdir(parents=True, exist_ok=True)
    draw(found, grid, [*method.attributes], picture)
    result = SpliceResult(
        str(path), str(run), merge, method.size, info.size, worst.score, worst.seconds, scores, str(picture)
    )
    write_text(folder / "splice.json", json.dumps(asdict(result), indent=1) + "\n")
    return result


def load(run: Path) -> CameraConsistency:
    """Return the method of a run with its last weights, in eval mode.

    Raises:
        ValueError: if the run is of another method.
    """
    made, config = parse([str(run / "config.yaml")])
    config.logger = None
    method = made.instantiate(config).method
    if not isinstance(method, CameraConsistency):
        raise ValueError(f"{run}: a run of {type(method).__name__}; give one of CameraConsistency")
    load_method(method, run)
    return method.eval()


def moments(info: VideoInfo, every: float, most: int) -> list[float]:
    """Return the seconds of the frames that are compared: one of a picture, evenly spaced ones of a video."""
    if info.container == "image":
        return [0.0]
    count = min(most, int(info.duration / every) + 1)
    step = max(every, info.duration / count)
    return [number * step for number in range(count) if number * step < info.duration]


def frames_of(info: VideoInfo, times: list[float]) -> Iterator[tuple[float, Tensor]]:
    """Yield the frames ``[3, H, W]`` uint8 shown at some seconds, one after the other."""
    with open_video(info.path, info=info) as reader:
        for seconds in times:
            yield seconds, reader.frames(torch.tensor([seconds], dtype=torch.float64))[0]


def examine(method: CameraConsistency, frame: Tensor, grid: Grid, merge: Merge, seconds: float = 0.0) -> Examined:
    """Compare all patches of a frame ``[3, H, W]`` uint8."""
    affinity = affinities(method, frame, grid)
    together = merged(affinity[-1], merge)
    each = 1 - affinity[:-1, :, together.members].mean(2)  # [A, P]
    energies = laplacian_energy(grid.cut(frame) / 255)
    away = apart(energies)
    places = [(top, left) for top in grid.tops for left in grid.lefts]
    patches = [
        Patch(
            top,
            left,
            round(float(together.scores[place]), 4),
            round(float(away[place]), 4),
            {name: round(float(each[row, place]), 4) for row, name in enumerate(method.attributes)},
        )
        for place, (top, left) in enumerate(places)
    ]
    scores = FrameScores(
        round(seconds, 4), round(inconsistency(affinity[-1]), 4), round(float(energies.std()), 4), patches
    )
    return Examined(frame, affinity, grid.spread(together.scores), scores)
