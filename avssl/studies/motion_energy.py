"""Hand-made features under the protocol that judges encoders, and each encoder's gain over them.

Motion energy is the mean absolute difference of neighbouring grey frames in the squares of an 8 x 8 grid, in decibels.
It is computed from the clips that encoders are shown and read by the same linear probe: once as the mean over each
clip, once as every difference; each clip by clip (`linear`) and with a video's clips concatenated
(`linear_sequence`).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import avg_pool2d

from avssl.evaluation.features import ViewDataset
from avssl.evaluation.metrics import gain
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.readout import cross_validate
from avssl.evaluation.report import cell
from avssl.evaluation.results import Summary
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally
from avssl.studies.unseen import protocol_task, read_result

GRID = 8
NOISE = 0.5  # grey levels added before the logarithm, as much as rounding alone makes
PAIRS = [("linear", "linear"), ("linear", "linear_sequence"), ("linear_sequence", "linear_sequence")]


def motion_energy(config: str = "ut_interaction", results: Path = Path("benchmarks/results")) -> None:
    """Print top-1 of the hand-made features, then the gain over them of every method in the kept results.

    Args:
        config: path or packaged name of the evaluation protocol.
        results: folder of the kept results, ``PLAN/METHOD-SEED``.

    Raises:
        ValueError: if a result was measured on other videos or folds than the protocol's.
    """
    task = protocol_task(config)
    protocol = task.protocol
    assert protocol.linear is not None
    energies = clip_energies(task)
    headings = ("features of a clip", "read-out", "top-1")
    table = Table(*headings, title=f"motion energy on {protocol.name}: video top-1, chance {task.chance()['top1']:.3f}")
    best: dict[str, Summary] = {}
    for kind, values in (("mean", energies.mean(2)), ("every difference", energies.flatten(2))):
        bank = task.bank(values.numpy())
        for read_out, read in (("linear", bank), ("linear_sequence", bank.in_sequence(protocol.views.crops))):
            found = cross_validate([protocol.linear], [read], task.folds)
            table.add_row(kind, read_out, cell(found.top1))
            if read_out not in best or found.top1.value > best[read_out].top1.value:
                best[read_out] = found
    console = Console(width=140)
    console.print(table)

    columns = [f"{ours} over {theirs}" for ours, theirs in PAIRS]
    table = Table("plan", "method", "runs", *columns, title="gain over the best of these")
    methods = defaultdict(list)
    for file in sorted(results.glob(f"*/*/eval/{protocol.name}/results.json")):
        run = file.parents[2]
        methods[run.parent.name, run.name.rpartition("-")[0]].append(read_result(file, task))
    for (plan, method), runs in methods.items():
        cells = []
        for read_out, theirs in PAIRS:
            ours = [one for one in (run.summary(read_out) for run in runs) if one is not None]
            more = gain(ours, best[theirs]) if ours else None
            few = f", {len(ours)} run(s)" if len(ours) < len(runs) else ""
            cells.append(cell(more) + few if more else "")
        if any(cells):
            table.add_row(plan, method, str(len(runs)), *cells)
    console.print(table)


def clip_energies(task: DownstreamTask) -> Tensor:
    """Return decibels ``[V, M, T - 1, GRID * GRID]`` of a task's V videos, M clips and T frames each."""
    views = task.protocol.views
    energies = torch.zeros(len(task.videos), views.count, views.num_frames - 1, GRID * GRID)
    with Tally("motion energy", len(task.rows)) as tally:
        for row, clips in zip(task.rows, Machine().loader(ViewDataset(task.videos, task.rows, views)), strict=True):
            energies[row] = energy(clips[0])
            tally.add("videos")
    return energies


def energy(views: Tensor) -> Tensor:
    """Return decibels ``[M, T - 1, GRID * GRID]`` of uint8 ``[M, T, 3, S, S]``."""
    grey = views.float().mean(2)
    change = grey.diff(dim=1).abs()
    return 10 * (avg_pool2d(change, change.shape[-1] // GRID) + NOISE).log10().flatten(2)
