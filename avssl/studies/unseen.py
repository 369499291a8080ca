"""Unseen clips: whether encoders know clips that their pretraining has not seen as well as those it has.

A plan pretrains, without labels, on the clips that its judge tests. Only those that pretraining held out, to measure
the pretext task on them, are unseen by every encoder. Plans without groups hold out a few clips of recordings whose
other clips are seen: mind the intervals. Methods that need long videos leave out some more clips.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.evaluation.config import parse, parser
from avssl.evaluation.metrics import bootstrap, gain, marks
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.report import cell
from avssl.evaluation.results import Results, Score, Summary
from avssl.runtime.configs import find_config
from avssl.studies.plans import Plan
from avssl.training.data import Data, split

READ_OUTS = ("linear", "neighbours", "linear_sequence")


def unseen(plan: Path, runs: Path = Path("runs"), results: Path | None = None) -> None:
    """Print top-1 and the gain over the untrained network, for clips that pretraining held out and for the others.

    Args:
        plan: a YAML file, see `avssl.studies.Plan`, whose first judge is ``avssl evaluate PROTOCOL ...``.
        runs: parent folder of its prepared videos, which are made if they are missing.
        results: folder of the kept results; by default ``results`` beside the plan.

    Raises:
        ValueError: if a result was measured on other videos or folds than the protocol's.
    """
    read, results = Plan.read(plan), plan.parent / "results" if results is None else results
    videos = open_manifest([Path(copy) for copy in read.prepare_videos(runs / read.name)])
    task = protocol_task(read.judge[0].split()[2])
    paths = task.videos.column("path").to_pylist()
    tested = [Path(paths[row]).stem for fold in task.folds.folds for row in fold.test]

    headings = ("method", "runs", "read-out", "clips held out", "top-1", "gain", "clips seen", "top-1", "gain")
    title = f"video top-1 (chance {task.chance()['top1']:.3f}) and gain over the untrained network"
    table = Table(*headings, title=title)
    for name, method in read.methods.items():
        shares = [float(word.partition("=")[2]) for word in method.get("changes", []) if "data.held_out=" in word]
        _, held_out = split(videos, (shares or [Data.held_out])[-1])
        is_unseen = np.isin(tested, [Path(path).stem for path in held_out.column("path").to_pylist()])
        files = sorted((results / read.name).glob(f"{name}-[0-9]*/eval/{task.protocol.name}/results.json"))
        found = [read_result(file, task) for file in files]
        for read_out in READ_OUTS:
            ours = [one for one in (result.summary(read_out) for result in found) if one is not None]
            base = found[-1].summary(read_out, "random_init") if ours else None
            if base is None:
                continue
            cells = []
            for chosen in (is_unseen, ~is_unseen):
                these = [restricted(one, chosen) for one in ours]
                more = gain(these, restricted(base, chosen))
                value = float(np.mean([one.top1.value for one in these]))
                interval = bootstrap(marks([row for one in these for row in one.hits or ()]), these[0].units or (), 0)
                cells += [str(chosen.sum()), cell(Score(value, interval)), cell(more)]
            table.add_row(name, str(len(ours)), read_out, *cells)
    Console(width=160).print(table)


def protocol_task(config: str) -> DownstreamTask:
    """Open the data of an evaluation protocol, given by path or packaged name."""
    protocol, _ = parse(parser(None), [str(find_config(config, "evaluation")), "--run="])
    return DownstreamTask(protocol)


def read_result(file: Path, task: DownstreamTask) -> Results:
    """Read a kept result; raise ValueError if it was measured on other videos or folds than the task's."""
    found = Results.read(file)
    if found.protocol["hash"] != task.facts["hash"]:
        raise ValueError(f"{file} was measured on other videos or folds than {task.protocol.data.root} holds")
    return found


def restricted(summary: Summary, chosen: NDArray[np.bool_]) -> Summary:
    """Restrict what `gain` needs of a summary to some of the tested clips."""
    hits = ["".join(np.array(list(row))[chosen]) for row in summary.hits or ()]
    units = None if summary.units is None else np.array(summary.units)[chosen].tolist()
    top1 = replace(summary.top1, value=float(marks(hits).mean()))
    return replace(summary, hits=hits, units=units, video={"top1": top1})
