"""What hand-made features reach under the protocol that judges encoders, and what each encoder gains over them.

    python avssl/studies/motion_energy.py

Motion energy is the mean absolute difference of neighbouring grey frames in the squares of an 8 x 8 grid, in decibels.
It is made from the clips that encoders are shown and read by the same linear probe: once the mean over each clip, once
every difference by itself; each clip by clip (`linear`) and with the clips of a video laid end to end
(`linear_sequence`).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import avg_pool2d

from avssl.evaluation.config import parse, parser
from avssl.evaluation.features import ViewDataset
from avssl.evaluation.metrics import gain
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.readout import cross_validate
from avssl.evaluation.results import Summary
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally
from avssl.studies.transfer import ROOT, number
from avssl.studies.unseen import comparable

GRID = 8
NOISE = 0.5  # grey levels, added before the logarithm: what rounding alone makes


def main(config: str = "configs/eval/ut_interaction.yaml", results: Path = ROOT / "benchmarks/results") -> None:
    """Print top-1 of the hand-made features, then the gains over them of every method in the results kept.

    Args:
        config: the protocol.
        results: what avssl/studies/transfer.py has kept: PLAN/METHOD-SEED.
    """
    protocol, _ = parse(parser(None), [config, "--run="])
    assert protocol.linear is not None
    task, machine = DownstreamTask(protocol), Machine()
    energies = torch.zeros(len(task.videos), protocol.views.count, protocol.views.num_frames - 1, GRID * GRID)
    with Tally("motion energy", len(task.rows)) as tally:
        loader = machine.loader(ViewDataset(task.videos, task.rows, protocol.views))
        for row, views in zip(task.rows, loader, strict=True):
            energies[row] = energy(views[0])
            tally.add("videos")

    table = Table(title=f"motion energy on {protocol.name}: video top-1, chance {task.chance()['top1']:.3f}")
    for heading in ("features of a clip", "read-out", "top-1"):
        table.add_column(heading)
    base: dict[str, list[Summary]] = {"linear": [], "linear_sequence": []}
    for kind, values in (("mean", energies.mean(2)), ("every difference", energies.flatten(2))):
        bank = task.bank(values.numpy())
        for read_out, read in (("linear", bank), ("linear_sequence", bank.in_sequence(protocol.views.crops))):
            base[read_out].append(cross_validate([protocol.linear], [read], task.folds))
            top1 = base[read_out][-1].top1
            table.add_row(kind, read_out, number(top1.value, *top1.ci95_bootstrap))
    console = Console(width=140)
    console.print(table)

    best = {read_out: max(both, key=lambda summary: summary.top1.value) for read_out, both in base.items()}
    pairs = [("linear", "linear"), ("linear", "linear_sequence"), ("linear_sequence", "linear_sequence")]
    table = Table(title="gain over the best of these")
    for heading in ("plan", "method", "runs", *(f"{ours} over {theirs}" for ours, theirs in pairs)):
        table.add_column(heading)
    found = defaultdict(list)
    for file in sorted(results.glob(f"*/*/eval/{protocol.name}/results.json")):
        run = file.parents[2]
        found[run.parent.name, run.name.rpartition("-")[0]].append(comparable(file, task))
    for (plan, method), runs in found.items():
        cells = []
        for read_out, theirs in pairs:
            ours = [one for one in (run.summary(read_out) for run in runs) if one is not None]
            more = gain(ours, best[theirs]) if ours else None
            few = f", {len(ours)} run(s)" if len(ours) < len(runs) else ""
            cells.append(number(more.value, *more.ci95_bootstrap) + few if more else "")
        if any(cells):
            table.add_row(plan, method, str(len(runs)), *cells)
    console.print(table)


def energy(views: Tensor) -> Tensor:
    """uint8 ``[M, T, 3, S, S]`` to decibels ``[M, T - 1, GRID * GRID]``."""
    grey = views.float().mean(2)
    change = grey.diff(dim=1).abs()
    return 10 * (avg_pool2d(change, change.shape[-1] // GRID) + NOISE).log10().flatten(2)


if __name__ == "__main__":
    auto_cli(main)
