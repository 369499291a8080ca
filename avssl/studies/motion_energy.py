"""Hand-made features under the protocol that judges encoders, and each encoder's gain over them.

The features are `avssl.evaluation.MotionEnergy` of the clips that encoders are shown, read by the same linear probe:
once as the mean over each clip, once as every difference; each clip by clip (`linear`) and with a video's clips
concatenated (`linear_sequence`).
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avssl.evaluation.extraction import extract_several
from avssl.evaluation.handmade import MotionEnergy
from avssl.evaluation.metrics import gain
from avssl.evaluation.reading import Reading
from avssl.evaluation.readout import at_rows, cross_validate
from avssl.evaluation.report import cell
from avssl.evaluation.results import Summary
from avssl.runtime.device import Machine
from avssl.studies.unseen import protocol_task, read_result

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
    readings = [Reading(), Reading((protocol.views.num_frames - 1, 1, 1))]
    found = extract_several(MotionEnergy(), task.videos, task.rows, protocol.views, Machine(), readings)
    headings = ("features of a clip", "read-out", "top-1")
    table = Table(*headings, title=f"motion energy on {protocol.name}: video top-1, chance {task.chance()['top1']:.3f}")
    best: dict[str, Summary] = {}
    for kind, values in zip(("mean", "every difference"), found, strict=True):
        bank = task.bank(at_rows(values, task.rows, len(task.videos)))
        for read_out, read in (("linear", bank), ("linear_sequence", bank.in_sequence(protocol.views.crops))):
            summary = cross_validate([protocol.linear], [read], task.folds)
            table.add_row(kind, read_out, cell(summary.top1))
            if read_out not in best or summary.top1.value > best[read_out].top1.value:
                best[read_out] = summary
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
