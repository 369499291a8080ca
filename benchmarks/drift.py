"""How well do trivial cues that drift answer questions about order, and what does a jitter of single frames leave?

    python benchmarks/drift.py benchmarks/temporal.yaml

Frames (clips) are put in order by a cue alone: by brightness, by that of the border, by sharpness; OPN's frames as its
network sees them. The videos and the samplers are those of the plan, which
``python benchmarks/transfer.py benchmarks/temporal.yaml`` prepares and trains on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transfer import ROOT, prepared

from avssl.data.dataset import ClipDataset, collate
from avssl.data.index import open_manifest
from avssl.methods import OPN
from avssl.methods.temporal.shuffle_learn import TUPLES
from avssl.training.config import parse

CHANCE = {"shuffle_learn": 1 / 2, "opn": 1 / 12, "vcop": 1 / 6}
JITTERS = (0.0, 0.5)
BORDER = 4  # pixels


def cues(frames: Tensor) -> dict[str, Tensor]:
    """``[..., C, H, W]`` to ``[...]``: what a network that knows nothing of things could see of a frame."""
    inner = frames[..., BORDER:-BORDER, BORDER:-BORDER].sum((-3, -2, -1))
    return {
        "brightness": frames.mean((-3, -2, -1)),
        "brightness of the border": frames.sum((-3, -2, -1)) - inner,
        "sharpness": frames.diff(dim=-1).abs().mean((-3, -2, -1)),
    }


def accuracy(name: str, cue: Tensor) -> Tensor:
    """How often a cue that is taken to grow or to shrink evenly finds the answer; a direction is guessed.

    Args:
        name: of the method.
        cue: ``[windows, moments]``, in the order of time.
    """
    if name == "shuffle_learn":  # balanced: as many tuples in order as not
        said = [(cue[:, middle] - cue[:, a]) * (cue[:, b] - cue[:, middle]) > 0 for a, middle, b in TUPLES]
        return said[0].double().mean() / 2 + (~torch.stack(said[1:])).double().mean() / 2
    steps = cue.diff(dim=1)
    found = ((steps > 0).all(1) | (steps < 0).all(1)).double().mean()
    return found / 2 if name == "vcop" else found  # OPN's orders count as their reverses


def measured(name: str, words: dict[str, Any], roots: list[Path], jitter: float) -> dict[str, Tensor]:
    """``[videos]`` of `accuracy` by each cue."""
    changes = [*words.get("changes", []), f"--data.transform.init_args.frame_jitter={jitter}"]
    made, parsed = parse([str(ROOT / words["config"]), *changes])
    built = made.instantiate(parsed)
    method = built.method
    videos = ClipDataset(open_manifest(roots), method.sampler, built.data.transform)
    torch.manual_seed(0)
    scores: dict[str, list[Tensor]] = {}
    for row in range(len(videos)):
        clips = collate([videos[0, row]])[0]
        frames, times = clips.video[0].double(), clips.times[0]  # [clips, frames, 3, H, W], [clips, frames]
        if name == "vcop":
            values = {cue: of.mean(1)[times[:, 0].argsort()][None] for cue, of in cues(frames).items()}
        else:
            frames = frames[torch.arange(len(frames))[:, None], times.argsort(1)]
            values = cues(method.disguised(frames) if isinstance(method, OPN) else frames)
        for cue, of in values.items():
            scores.setdefault(cue, []).append(accuracy(name, of))
    return {cue: torch.stack(of) for cue, of in scores.items()}


def main(plan: Path, runs: Path = Path("runs")) -> None:
    """Print how often each cue answers, without and with ``frame_jitter``, beside chance.

    Args:
        plan: a YAML file that benchmarks/transfer.py works on, with Shuffle & Learn, OPN and VCOP.
        runs: where its prepared videos are, or are made.
    """
    words = yaml.safe_load(plan.read_text())
    roots = [Path(root) for root in prepared(words, runs / plan.stem)]
    table = Table(title="answers by a cue alone, mean and standard error over videos")
    for heading in ("method", "cue", *(f"frame_jitter {jitter}" for jitter in JITTERS), "chance"):
        table.add_column(heading)
    for name, chance in CHANCE.items():
        columns = [measured(name, words["methods"][name], roots, jitter) for jitter in JITTERS]
        for cue in columns[0]:
            cells = [f"{of[cue].mean():.3f} ± {of[cue].std() / len(of[cue]) ** 0.5:.3f}" for of in columns]
            table.add_row(name, cue, *cells, f"{chance:.3f}")
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
