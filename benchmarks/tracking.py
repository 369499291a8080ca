"""Region similarity J of masks that a trained TrackByColour carries through the synthetic world.

    python benchmarks/tracking.py runs/track_by_colour

The mask of each acting thing in a clip's first frame is propagated through the others; J is the intersection over union
with the true mask, mean over things and frames (Perazzi et al., CVPR 2016). Baselines: the first mask kept in place,
the first mask moved by optical flow, and the same network untrained. Scenes have another seed than in training.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.labels import dis_flow
from avssl.labels.edges import warp
from avssl.labels.flow import grey
from avssl.methods import TrackByColour
from avssl.pixels import MEAN, STD
from avssl.synthetic import Scene, World
from avssl.training.config import parse
from avssl.training.sheet import load_method


def main(run: Path, scenes: int = 24, size: int = 64, frames: int = 8, step: float = 0.16) -> None:
    """Print J of the run and of the baselines.

    Args:
        run: folder of a run of TrackByColour.
        scenes: number of scenes of the synthetic world.
        size: height and width of its frames in pixels.
        frames: frames per clip.
        step: seconds between two of them.
    """
    made, config = parse([str(run / "config.yaml")])
    methods: dict[str, TrackByColour] = {}
    for name in ("untrained", "trained"):
        torch.manual_seed(config.seed)
        methods[name] = made.instantiate(config).method.eval()
    load_method(methods["trained"], run)
    scores: dict[str, list[float]] = {}
    for index in range(scenes):
        scene = Scene(World(videos=scenes, size=size, seed=1), index)
        times = [0.5 + step * k for k in range(frames)]
        video = torch.from_numpy(np.stack([scene.frame(t) for t in times]).transpose(0, 3, 1, 2))
        truth = torch.from_numpy(np.stack([scene.masks(t) for t in times]))  # [T, 2, H, W]
        mask = torch.cat([~truth[:1].any(1, keepdim=True), truth[:1]], 1).float()  # [1, 3, H, W]: room and two things
        answers = {"first mask": mask.expand(frames, -1, -1, -1), "optical flow": by_flow(video, mask[0])}
        clips = Clips(video[None, None], torch.tensor(times)[None, None]).normalised(
            torch.tensor(MEAN), torch.tensor(STD)
        )
        for name, method in methods.items():
            cells = method.propagate(clips, mask[None])[0, 0]  # [T, 3, h, w]
            answers[name] = F.interpolate(cells, size=(size, size), mode="bilinear")
        for name, answer in answers.items():
            found = answer.argmax(1)[:, None] == torch.tensor([1, 2]).view(2, 1, 1)  # [T, 2, H, W]
            seen = truth[1:].flatten(2).any(2)  # [T - 1, 2]
            both, either = (part[1:].flatten(2).sum(2) for part in (found & truth, found | truth))
            scores.setdefault(name, []).append((both / either.clamp(min=1))[seen].mean().item())
    table = Table("", "J", title=f"{scenes} scenes, {frames} frames {step} s apart, {size} x {size}")
    for name, values in scores.items():
        table.add_row(name, f"{np.nanmean(values):.3f}")
    Console().print(table)


def by_flow(video: Tensor, mask: Tensor) -> Tensor:
    """Return masks ``[T, C, H, W]`` for frames ``[T, 3, H, W]``: the first, ``[C, H, W]``, moved through them."""
    pictures, masks = grey(video), [mask]
    for before, now in pairwise(pictures):
        masks.append(warp(masks[-1], torch.from_numpy(dis_flow(now, before))))
    return torch.stack(masks)


if __name__ == "__main__":
    auto_cli(main)
