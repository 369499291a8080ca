"""How well do trivial cues that drift answer questions about time, and what does a jitter of single frames leave?

    python avssl/studies/drift.py benchmarks/temporal.yaml

Frames (clips) are told apart by one number alone: their brightness, that of the border, their sharpness; OPN's frames
as its network sees them. Odd-One-Out's sub-sequences are told apart by how much changes in them, and by how steadily
that number grows or shrinks. The videos and the samplers are those of the plan, which
``python avssl/studies/transfer.py benchmarks/temporal.yaml`` prepares and trains on.
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

from avssl.catalog.index import open_manifest
from avssl.data.dataset import ClipDataset, collate
from avssl.methods import OPN
from avssl.methods.temporal.odd_one_out import odd
from avssl.methods.temporal.shuffle_learn import TUPLES
from avssl.methods.temporal.tcn import kendall
from avssl.studies.transfer import ROOT, prepared
from avssl.training.config import parse

CHANCE = {
    "shuffle_learn": 1 / 2,
    "odd_one_out": 1 / 6,
    "opn": 1 / 12,
    "vcop": 1 / 6,
    "tcn_single_view": 1 / 2,
    "slow_features": 1 / 2,
}
COLUMNS = {"without frame_jitter": ["--data.transform.init_args.frame_jitter=0"], "as configured": []}
BORDER = 4  # pixels


def cues(frames: Tensor) -> dict[str, Tensor]:
    """``[..., C, H, W]`` to ``[...]``: what a network that knows nothing of things could see of a frame."""
    inner = frames[..., BORDER:-BORDER, BORDER:-BORDER].sum((-3, -2, -1))
    return {
        "brightness": frames.mean((-3, -2, -1)),
        "brightness of the border": frames.sum((-3, -2, -1)) - inner,
        "sharpness": frames.diff(dim=-1).abs().mean((-3, -2, -1)),
    }


def accuracy(name: str, cue: Tensor, times: Tensor) -> Tensor:
    """How often a cue finds the answer, as the method's metric counts it.

    One that is taken to grow or to shrink evenly orders frames (clips), in a direction that is guessed; frames of which
    it is alike are taken for the same moment.

    Args:
        name: of the method.
        cue: ``[windows, moments]``, in the order of time; TCN's anchors and positives, slow features' pairs;
            ``[sub-sequences, 1]`` of Odd-One-Out, least in the odd one.
        times: ``[windows, moments]`` seconds, Odd-One-Out's as they are shown.
    """
    if name == "shuffle_learn":  # balanced: as many tuples in order as not
        said = [(cue[:, middle] - cue[:, a]) * (cue[:, b] - cue[:, middle]) > 0 for a, middle, b in TUPLES]
        return said[0].double().mean() / 2 + (~torch.stack(said[1:])).double().mean() / 2
    if name == "tcn_single_view":  # ordered
        nearest = (cue[0, :, None] - cue[1]).abs().argmin(1)
        return (1 + kendall(times[:1], times[1:, nearest])[0]) / 2
    if name == "odd_one_out":
        return (cue.argmin() == odd(times[None])).double().mean()
    if name == "slow_features":  # near pairs and far ones take turns
        apart = cue.diff(dim=1).abs().squeeze(1)
        return (apart[0::2, None] < apart[1::2]).double().mean()
    steps = cue.diff(dim=1)
    found = ((steps > 0).all(1) | (steps < 0).all(1)).double().mean()
    return found / 2 if name == "vcop" else found  # OPN's orders count as their reverses


def measured(name: str, words: dict[str, Any], roots: list[Path], changes: list[str]) -> dict[str, Tensor]:
    """``[videos]`` of `accuracy` by each cue."""
    made, parsed = parse([str(ROOT / words["config"]), *words.get("changes", []), *changes])
    built = made.instantiate(parsed)
    method = built.method
    videos = ClipDataset(open_manifest(roots), method.sampler, built.data.transform)
    torch.manual_seed(0)
    scores: dict[str, list[Tensor]] = {}
    for row in range(len(videos)):
        clips = collate([videos[0, row]])[0]
        frames, times = clips.video[0].double(), clips.times[0]  # [clips, frames, 3, H, W], [clips, frames]
        if name == "vcop":
            times = times[:, 0][None]  # of clips
            values = {cue: of.mean(1)[None] for cue, of in cues(frames).items()}
        elif name == "odd_one_out":
            change = frames.diff(dim=1).abs().mean((1, 2, 3, 4))[:, None]
            values = {"least change": change, "most change": -change}
            for cue, of in cues(frames).items():
                steps = of.diff(dim=1)
                values[cue] = steps.sum(1, keepdim=True).abs() / steps.abs().sum(1, keepdim=True)  # 1: all one way
        else:
            values = cues(method.disguised(frames) if isinstance(method, OPN) else frames)
        if name not in ("tcn_single_view", "odd_one_out"):
            order = times.argsort(1)
            times, values = times.gather(1, order), {cue: of.gather(1, order) for cue, of in values.items()}
        for cue, of in values.items():
            scores.setdefault(cue, []).append(accuracy(name, of, times))
    return {cue: torch.stack(of) for cue, of in scores.items()}


def main(plan: Path, runs: Path = Path("runs")) -> None:
    """Print how often each cue answers, without ``frame_jitter`` and as the plan configures it, beside chance.

    Args:
        plan: a YAML file that avssl/studies/transfer.py works on, with the methods of `CHANCE`.
        runs: where its prepared videos are, or are made.
    """
    words = yaml.safe_load(plan.read_text())
    roots = [Path(root) for root in prepared(words, runs / plan.stem)]
    table = Table(title="answers by a cue alone, mean and standard error over videos")
    for heading in ("method", "cue", *COLUMNS, "chance"):
        table.add_column(heading)
    for name, chance in CHANCE.items():
        columns = [measured(name, words["methods"][name], roots, changes) for changes in COLUMNS.values()]
        for cue in columns[0]:
            cells = [f"{of[cue].mean():.3f} ± {of[cue].std() / len(of[cue]) ** 0.5:.3f}" for of in columns]
            table.add_row(name, cue, *cells, f"{chance:.3f}")
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
