"""Do the encoders of a plan know clips that their pretraining has not seen as well as those it has?

    python avssl/studies/unseen.py benchmarks/unseen.yaml

A plan pretrains, without labels, on the clips that its judge tests. Those that pretraining held out, to measure the
pretext task on them, are the only tested clips that no encoder has seen. Plans without groups hold out a few clips of
recordings whose others are seen: mind the intervals. Methods that need long videos have left out some clips too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from jsonargparse import auto_cli
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.evaluation.config import parse, parser
from avssl.evaluation.metrics import bootstrap, gain, marks
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.results import Results, Summary
from avssl.studies.transfer import ROOT, number, prepared
from avssl.training.data import Data, split

READ_OUTS = ("linear", "neighbours", "linear_sequence")


def main(plan: Path, runs: Path = Path("runs"), results: Path = ROOT / "benchmarks/results") -> None:
    """Print, for clips that pretraining held out and for the others, top-1 and what pretraining adds to it.

    Args:
        plan: a YAML file that avssl/studies/transfer.py has worked on, whose first judge is tools/evaluate.py.
        runs: where its prepared videos are, or are made.
        results: what is kept of its runs.
    """
    words = yaml.safe_load(plan.read_text())
    videos = open_manifest([Path(copy) for copy in prepared(words, runs / plan.stem)])
    protocol, _ = parse(parser(None), [words["judge"][0].split()[1], "--run="])
    task = DownstreamTask(protocol)
    paths = task.videos.column("path").to_pylist()
    tested = [Path(paths[row]).stem for fold in task.folds.folds for row in fold.test]

    table = Table(title=f"video top-1 (chance {task.chance()['top1']:.3f}) and the gain over the untrained network")
    for heading in ("method", "runs", "read-out", "clips held out", "top-1", "gain", "clips seen", "top-1", "gain"):
        table.add_column(heading)
    for name, method in words["methods"].items():
        shares = [float(word.partition("=")[2]) for word in method.get("changes", []) if "data.held_out=" in word]
        _, held_out = split(videos, (shares or [Data.held_out])[-1])
        unseen = np.isin(tested, [Path(path).stem for path in held_out.column("path").to_pylist()])
        files = sorted((results / plan.stem).glob(f"{name}-[0-9]*/eval/{protocol.name}/results.json"))
        found = [comparable(file, task) for file in files]
        for read_out in READ_OUTS:
            ours = [one for one in (result.summary(read_out) for result in found) if one is not None]
            base = found[-1].summary(read_out, "random_init") if ours else None
            if base is None:
                continue
            cells = []
            for chosen in (unseen, ~unseen):
                these = [part(one, chosen) for one in ours]
                more = gain(these, part(base, chosen))
                value = float(np.mean([one.top1.value for one in these]))
                interval = bootstrap(marks([row for one in these for row in one.hits or ()]), these[0].units or (), 0)
                cells += [str(chosen.sum()), number(value, *interval)]
                cells.append(number(more.value, *more.ci95_bootstrap) if more else "")
            table.add_row(name, str(len(ours)), read_out, *cells)
    Console(width=160).print(table)


def comparable(file: Path, task: DownstreamTask) -> Results:
    """Read a result that was kept.

    Raises:
        SystemExit: where it was measured on other videos or folds than the task's.
    """
    found = Results.read(file)
    if found.protocol["hash"] != task.facts["hash"]:
        raise SystemExit(f"{file} was measured on other videos or folds than {task.protocol.data.root} holds")
    return found


def part(summary: Summary, chosen: NDArray[np.bool_]) -> Summary:
    """Restrict to some of the tested clips what `gain` needs: hits, units and top-1."""
    hits = ["".join(np.array(list(row))[chosen]) for row in summary.hits or ()]
    units = None if summary.units is None else np.array(summary.units)[chosen].tolist()
    top1 = replace(summary.top1, value=float(marks(hits).mean()))
    return replace(summary, hits=hits, units=units, video={"top1": top1})


if __name__ == "__main__":
    auto_cli(main)
