"""Unseen clips: whether encoders know clips that their pretraining has not seen as well as those it has.

A plan pretrains, without labels, on the clips that its judge tests. Only those that pretraining held out, to measure
the pretext task on them, are unseen by every encoder. Plans without groups hold out a few clips of recordings whose
other clips are seen: mind the intervals. Methods that need long videos leave out some more clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.evaluation.config import parse, parser
from avssl.evaluation.metrics import bootstrap, gain, marks
from avssl.evaluation.protocol import Task
from avssl.runtime.configs import find_config
from avssl.studies.plans import Plan
from avssl.studies.tables import with_interval
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
    table = Table(
        *headings, title=f"video top-1 (chance {task.chance()['top1']:.3f}) and gain over the untrained network"
    )
    for name, method in read.methods.items():
        shares = [float(word.partition("=")[2]) for word in method.get("changes", []) if "data.held_out=" in word]
        _, held_out = split(videos, (shares or [Data.held_out])[-1])
        is_unseen = np.isin(tested, [Path(path).stem for path in held_out.column("path").to_pylist()])
        files = sorted((results / read.name).glob(f"{name}-[0-9]*/eval/{task.protocol.name}/results.json"))
        found = [read_result(file, task) for file in files]
        for read_out in READ_OUTS:
            ours = [one["results"]["pretrained"].get(read_out, {}) for one in found]
            ours = [one for one in ours if "hits" in one]  # older results have none
            if not ours:
                continue
            base = found[-1]["results"]["random_init"][read_out]
            cells = []
            for chosen in (is_unseen, ~is_unseen):
                these = [restricted(one, chosen) for one in ours]
                more = gain(these, restricted(base, chosen))
                value = np.mean([one["video"]["top1"]["value"] for one in these])
                interval = bootstrap(marks([row for one in these for row in one["hits"]]), these[0]["units"], 0)
                cells += [str(chosen.sum()), with_interval(value, *interval)]
                cells.append(with_interval(more["value"], *more["ci95_bootstrap"]) if more else "")
            table.add_row(name, str(len(ours)), read_out, *cells)
    Console(width=160).print(table)


def protocol_task(config: str) -> Task:
    """Open the data of an evaluation protocol, given by path or packaged name."""
    protocol, _ = parse(parser(None), [str(find_config(config, "evaluation")), "--run="])
    return Task(protocol)


def read_result(file: Path, task: Task) -> dict[str, Any]:
    """Read a kept result.

    Raises:
        ValueError: if it was measured on other videos or folds than the task's.
    """
    found = json.loads(file.read_text())
    if found["protocol"]["hash"] != task.facts["hash"]:
        raise ValueError(f"{file} was measured on other videos or folds than {task.protocol.data.root} holds")
    return found


def restricted(summary: Mapping[str, Any], chosen: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the part of a read-out's summary that `gain` needs, on some of the tested clips."""
    hits = ["".join(np.array(list(row))[chosen]) for row in summary["hits"]]
    units = list(np.array(summary["units"])[chosen])
    return {"hits": hits, "units": units, "video": {"top1": {"value": marks(hits).mean()}}}
