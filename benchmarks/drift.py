"""How well do trivial cues that drift answer Shuffle & Learn's question, and what does a jitter of single frames leave?

    python benchmarks/drift.py "[runs/temporal/videos/ut_interaction,runs/temporal/videos/ut_unlabelled]"

A tuple is said to be in order where the cue of its middle frame lies between those of the outer two. The videos are
those which ``python benchmarks/transfer.py benchmarks/temporal.yaml`` trains on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.data.dataset import ClipDataset, collate
from avssl.data.index import open_manifest
from avssl.methods.temporal.shuffle_learn import TUPLES
from avssl.training.config import parse

CONFIG = Path(__file__).parents[1] / "configs/shuffle_learn.yaml"
JITTERS = (0.0, 0.5)
BORDER = 4  # pixels


def cues(frames: Tensor) -> dict[str, Tensor]:
    """``[..., 3, H, W]`` to ``[...]``: what a network that knows nothing of things could see of a frame."""
    inner = frames[..., BORDER:-BORDER, BORDER:-BORDER].sum((-3, -2, -1))
    return {
        "brightness": frames.mean((-3, -2, -1)),
        "brightness of the border": frames.sum((-3, -2, -1)) - inner,
        "sharpness": frames.diff(dim=-1).abs().mean((-3, -2, -1)),
    }


def between(cue: Tensor) -> Tensor:
    """``[N, 5]`` of frames in order to ``[N]``: balanced accuracy over the tuples of a window."""
    right = []
    for first, middle, last in TUPLES:
        said = (cue[:, middle] - cue[:, first]) * (cue[:, last] - cue[:, middle]) > 0
        right.append((said if first < middle < last else ~said).double())
    return right[0] / 2 + (right[1] + right[2]) / 4


def main(roots: list[Path], windows: int = 4) -> None:
    """Print the balanced accuracy by each cue, without and with ``frame_jitter``; chance is 0.5.

    Args:
        roots: collections of videos.
        windows: of five frames each, drawn from every video.
    """
    table = Table(title="balanced accuracy, mean and standard error over videos (chance 0.5)")
    table.add_column("cue")
    columns: list[dict[str, Tensor]] = []
    for jitter in JITTERS:
        words = [f"--data.transform.init_args.frame_jitter={jitter}", f"--method.init_args.sampler.windows={windows}"]
        made, parsed = parse([str(CONFIG), *words])
        built = made.instantiate(parsed)
        videos = ClipDataset(open_manifest(roots), built.method.sampler, built.data.transform)
        scores: dict[str, list[Tensor]] = {}
        for row in range(len(videos)):
            clips = collate([videos[0, row]])[0]
            order = clips.times[0].argsort(1)  # [windows, 5]
            frames = clips.video[0].double()[torch.arange(windows)[:, None], order]
            for name, cue in cues(frames).items():
                scores.setdefault(name, []).append(between(cue).mean())
        columns.append({name: torch.stack(of) for name, of in scores.items()})
        table.add_column(f"frame_jitter {jitter}")
    for name in columns[0]:
        cells = [f"{of[name].mean():.3f} ± {of[name].std() / len(of[name]) ** 0.5:.3f}" for of in columns]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
