"""How well would the colours of a place alone solve a contrastive task on clips, and what is left of that?

    python avssl/studies/colours.py simclr "[runs/temporal/videos/ut_interaction,runs/temporal/videos/ut_unlabelled]"

Of two clips of each of 32 videos, as a config augments them, every clip looks for the most alike among the 63 others.
With the config's ``jitter`` and ``grey`` and without; crops and flips stay. The videos are those which
``python avssl/studies/transfer.py benchmarks/temporal.yaml`` trains on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.catalog.index import open_manifest
from avssl.data.dataset import ClipDataset, collate
from avssl.training.config import parse

ROOT = Path(__file__).parents[2]
LEVELS = 8  # of each colour channel in a histogram
VIDEOS = 32
PLAIN = [f"--data.transform.init_args.{name}=0" for name in ("jitter", "grey")]


def histogram(clips: Tensor) -> Tensor:
    """``[N, T, 3, H, W]`` uint8 to ``[N, 512]``, roots of each colour's share (distances are Hellinger's)."""
    red, green, blue = (clips.long() * LEVELS // 256).unbind(2)
    colours = ((red * LEVELS + green) * LEVELS + blue).flatten(1)
    shares = torch.full(colours.shape, 1 / colours.shape[1], dtype=torch.float64)
    return torch.zeros(len(clips), LEVELS**3, dtype=torch.float64).scatter_add_(1, colours, shares).sqrt()


def difference(clips: Tensor) -> Tensor:
    """``[N, T, 3, H, W]`` uint8 to ``[N, 3]``: how much each channel changes from frame to frame, on a log scale."""
    return (clips[:, 1:].double() - clips[:, :-1]).abs().mean((1, 3, 4)).clamp(min=1e-3).log()


def found(features: Tensor) -> float:
    """How often the nearest of ``[2 B, D]`` features, two of each video in a row, is of the same video."""
    apart = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return (apart.argmin(1) == torch.arange(len(features)) ^ 1).double().mean().item()


def scores(name: str, roots: list[Path], batches: int, words: list[str]) -> dict[str, Tensor]:
    """``[batches]`` of `found` by each cue."""
    made, parsed = parse([str(ROOT / f"configs/{name}.yaml"), *words])
    built = made.instantiate(parsed)
    videos = ClipDataset(open_manifest(roots), built.method.sampler, built.data.transform)
    chosen = [torch.randperm(len(videos), generator=torch.Generator().manual_seed(n))[:VIDEOS] for n in range(batches)]
    clips = [collate([videos[n, int(row)] for row in rows])[0].video.flatten(0, 1) for n, rows in enumerate(chosen)]
    return {cue.__name__: torch.tensor([found(cue(batch)) for batch in clips]) for cue in (histogram, difference)}


def main(name: str, roots: list[Path], batches: int = 8) -> None:
    """Print how often each cue finds the other clip of a video.

    Args:
        name: config of a method whose sampler draws two clips of a video: simclr, moco or byol.
        roots: collections of videos.
        batches: how many times 32 videos are drawn.
    """
    table = Table(title=f"{name}: the other clip of a video found among {2 * VIDEOS - 1}, mean and standard error")
    for heading in ("cue", "without jitter and grey", "as configured", "chance"):
        table.add_column(heading)
    plain, ours = scores(name, roots, batches, PLAIN), scores(name, roots, batches, [])
    for cue in plain:
        cells = [f"{of[cue].mean():.3f} ± {of[cue].std() / batches**0.5:.3f}" for of in (plain, ours)]
        table.add_row(cue, *cells, f"{1 / (2 * VIDEOS - 1):.3f}")
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
