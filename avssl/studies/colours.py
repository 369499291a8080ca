"""Colour shortcuts: how well the colours of a place alone solve a contrastive task on clips."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.data.dataset import collate
from avssl.studies.cues import mean_and_error, method_and_clips

LEVELS = 8  # per colour channel in a histogram
VIDEOS = 32
PLAIN = [f"--data.transform.init_args.{name}=0" for name in ("jitter", "grey")]


def colours(config: str, roots: list[Path], batches: int = 8) -> None:
    """Print how often each cue finds the other clip of a video, without ``jitter`` and ``grey`` and as configured.

    Two clips are taken of each of 32 videos, cropped and flipped as the config does; each clip looks for the nearest
    among the 63 others.

    Args:
        config: path or name of the config of a method whose sampler draws two clips per video: simclr, moco or byol.
        roots: collections of videos; those of a plan are in ``runs/PLAN/videos``.
        batches: number of draws of 32 videos.
    """
    headings = ("cue", "without jitter and grey", "as configured", "chance")
    table = Table(*headings, title=f"{config}: the other clip found among {2 * VIDEOS - 1}, mean and standard error")
    plain, configured = (cue_accuracies(config, roots, batches, changes) for changes in (PLAIN, []))
    for cue in plain:
        table.add_row(cue, *(mean_and_error(of[cue]) for of in (plain, configured)), f"{1 / (2 * VIDEOS - 1):.3f}")
    Console().print(table)


def cue_accuracies(config: str, roots: list[Path], batches: int, changes: list[str]) -> dict[str, Tensor]:
    """Return ``[batches]`` of `pairs_found` for each cue."""
    _, videos = method_and_clips(config, changes, roots)
    chosen = [torch.randperm(len(videos), generator=torch.Generator().manual_seed(n))[:VIDEOS] for n in range(batches)]
    clips = [collate([videos[n, int(row)] for row in rows])[0].video.flatten(0, 1) for n, rows in enumerate(chosen)]
    return {cue.__name__: torch.tensor([pairs_found(cue(batch)) for batch in clips]) for cue in (histogram, difference)}


def histogram(clips: Tensor) -> Tensor:
    """Return ``[N, 512]`` roots of each colour's share (Hellinger distances) for uint8 ``[N, T, 3, H, W]``."""
    red, green, blue = (clips.long() * LEVELS // 256).unbind(2)
    bins = ((red * LEVELS + green) * LEVELS + blue).flatten(1)
    shares = torch.full(bins.shape, 1 / bins.shape[1], dtype=torch.float64)
    return torch.zeros(len(clips), LEVELS**3, dtype=torch.float64).scatter_add_(1, bins, shares).sqrt()


def difference(clips: Tensor) -> Tensor:
    """Return ``[N, 3]`` logarithms of each channel's change from frame to frame for uint8 ``[N, T, 3, H, W]``."""
    return (clips[:, 1:].double() - clips[:, :-1]).abs().mean((1, 3, 4)).clamp(min=1e-3).log()


def pairs_found(features: Tensor) -> float:
    """Return how often the nearest of ``[2 B, D]`` features, two per video in a row, is of the same video."""
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return (distances.argmin(1) == torch.arange(len(features)) ^ 1).double().mean().item()
