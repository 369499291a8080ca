"""Drift shortcuts: how well cues that change steadily answer questions about time.

Frames (clips) are told apart by one number alone: their brightness, that of their border, or their sharpness; OPN's
frames as its network sees them. Odd-One-Out's sub-sequences are told apart by how much changes in them, and by how
steadily that number grows or shrinks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.data.dataset import collate
from avssl.methods import OPN
from avssl.methods.temporal.odd_one_out import odd
from avssl.methods.temporal.shuffle_learn import TUPLES
from avssl.methods.temporal.tcn import kendall
from avssl.studies.cues import mean_and_error, method_and_clips
from avssl.studies.plans import Plan

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


def drift(plan: Path, runs: Path = Path("runs")) -> None:
    """Print how often each cue answers, without ``frame_jitter`` and as the plan configures it, beside chance.

    Args:
        plan: a YAML file, see `avssl.studies.Plan`, with the methods of `CHANCE`.
        runs: parent folder of its prepared videos, which are made if they are missing.
    """
    read = Plan.read(plan)
    roots = [Path(root) for root in read.prepare_videos(runs / read.name)]
    headings = ("method", "cue", *COLUMNS, "chance")
    table = Table(*headings, title="answers by a cue alone, mean and standard error over videos")
    for name, chance in CHANCE.items():
        columns = [cue_accuracies(name, read.methods[name], roots, changes) for changes in COLUMNS.values()]
        for cue in columns[0]:
            table.add_row(name, cue, *(mean_and_error(of[cue]) for of in columns), f"{chance:.3f}")
    Console().print(table)


def cue_accuracies(name: str, entry: dict[str, Any], roots: list[Path], changes: list[str]) -> dict[str, Tensor]:
    """Return ``[videos]`` of `accuracy` for each cue, for a method with its entry in a plan and further overrides."""
    method, videos = method_and_clips(entry["config"], [*entry.get("changes", []), *changes], roots)
    torch.manual_seed(0)
    scores: dict[str, list[Tensor]] = {}
    for row in range(len(videos)):
        clips = collate([videos[0, row]])[0]
        frames, times = clips.video[0].double(), clips.times[0]  # [clips, frames, 3, H, W], [clips, frames]
        if name == "vcop":
            times = times[:, 0][None]  # of clips
            values = {cue: of.mean(1)[None] for cue, of in frame_cues(frames).items()}
        elif name == "odd_one_out":
            change = frames.diff(dim=1).abs().mean((1, 2, 3, 4))[:, None]
            values = {"least change": change, "most change": -change}
            for cue, of in frame_cues(frames).items():
                steps = of.diff(dim=1)
                values[cue] = steps.sum(1, keepdim=True).abs() / steps.abs().sum(1, keepdim=True)  # 1: all one way
        else:
            values = frame_cues(method.disguised(frames) if isinstance(method, OPN) else frames)
        if name not in ("tcn_single_view", "odd_one_out"):
            order = times.argsort(1)
            times, values = times.gather(1, order), {cue: of.gather(1, order) for cue, of in values.items()}
        for cue, of in values.items():
            scores.setdefault(cue, []).append(accuracy(name, of, times))
    return {cue: torch.stack(of) for cue, of in scores.items()}


def frame_cues(frames: Tensor) -> dict[str, Tensor]:
    """Return ``[...]`` of each cue of ``[..., C, H, W]`` frames that needs no knowledge of things."""
    inner = frames[..., BORDER:-BORDER, BORDER:-BORDER].sum((-3, -2, -1))
    return {
        "brightness": frames.mean((-3, -2, -1)),
        "brightness of the border": frames.sum((-3, -2, -1)) - inner,
        "sharpness": frames.diff(dim=-1).abs().mean((-3, -2, -1)),
    }


def accuracy(name: str, cue: Tensor, times: Tensor) -> Tensor:
    """Return how often a cue finds the answer, counted as the method's metric does.

    A cue that is taken to grow or to shrink steadily orders frames (clips), in a direction that is guessed; frames of
    equal cue are taken for the same moment.

    Args:
        name: name of the method.
        cue: ``[windows, moments]`` in the order of time; TCN's anchors and positives; slow features' pairs;
            ``[sub-sequences, 1]`` for Odd-One-Out, smallest in the odd one.
        times: ``[windows, moments]`` seconds; Odd-One-Out's as they are shown.
    """
    if name == "shuffle_learn":  # balanced: as many tuples in order as not
        ordered = [(cue[:, middle] - cue[:, a]) * (cue[:, b] - cue[:, middle]) > 0 for a, middle, b in TUPLES]
        return ordered[0].double().mean() / 2 + (~torch.stack(ordered[1:])).double().mean() / 2
    if name == "tcn_single_view":  # ordered
        nearest = (cue[0, :, None] - cue[1]).abs().argmin(1)
        return (1 + kendall(times[:1], times[1:, nearest])[0]) / 2
    if name == "odd_one_out":
        return (cue.argmin() == odd(times[None])).double().mean()
    if name == "slow_features":  # near and far pairs alternate
        distance = cue.diff(dim=1).abs().squeeze(1)
        return (distance[0::2, None] < distance[1::2]).double().mean()
    steps = cue.diff(dim=1)
    found = ((steps > 0).all(1) | (steps < 0).all(1)).double().mean()
    return found / 2 if name == "vcop" else found  # an order of OPN counts as its reverse
