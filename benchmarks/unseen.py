"""Do the encoders of a plan know clips that their pretraining has not seen as well as those it has?

    python benchmarks/unseen.py benchmarks/longer.yaml

A plan pretrains, without labels, on the clips that its judge tests. Those that pretraining held out, to measure the
pretext task on them, are the only tested clips that no encoder has seen. They are few: mind the intervals. Methods that
need long videos have left out some of the others too.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from transfer import ROOT, prepared

from avssl.data.index import open_manifest
from avssl.evaluation.command import parse, parser
from avssl.evaluation.metrics import bootstrap, marks
from avssl.evaluation.protocol import Task
from avssl.training.run import Data, split

READ_OUTS = ("linear", "neighbours", "linear_sequence")


def main(plan: Path, runs: Path = Path("runs"), results: Path = ROOT / "benchmarks/results") -> None:
    """Print top-1 over clips that pretraining held out and over the others, and that of the untrained network.

    Args:
        plan: a YAML file that benchmarks/transfer.py has worked on, whose first judge is tools/evaluate.py.
        runs: where its prepared videos are, or are made.
        results: what is kept of its runs.
    """
    words = yaml.safe_load(plan.read_text())
    if "--data.held_out" in plan.read_text():
        raise SystemExit(f"{plan} changes data.held_out; which clips that leaves out is not worked out here")
    copies = [
        prepared(root, runs / plan.stem / "videos" / Path(root).name, words.get("prepare")) for root in words["videos"]
    ]
    _, held_out = split(open_manifest([Path(copy) for copy in copies]), Data.held_out)
    unseen = {Path(path).stem for path in held_out.column("path").to_pylist()}
    protocol, _ = parse(parser(None), [words["judge"][0].split()[1], "--run="])
    task = Task(protocol)
    paths = task.videos.column("path").to_pylist()
    tested = [row for fold in task.folds.folds for row in fold.test]
    rows = np.array([Path(paths[row]).stem in unseen for row in tested])
    groups = np.array([task.folds.groups[row] for row in tested])

    table = Table(title=f"video top-1: {rows.sum()} clips that pretraining held out, {(~rows).sum()} that it saw")
    for heading in ("run", "read-out", "held out", "seen", "untrained, held out", "untrained, seen", "chance"):
        table.add_column(heading)
    for file in sorted((results / plan.stem).glob(f"*/eval/{protocol.name}/results.json")):
        found = json.loads(file.read_text())
        if found["protocol"]["hash"] != task.facts["hash"]:
            raise SystemExit(f"{file} was measured on other videos or folds than {protocol.data.root} holds")
        for name in READ_OUTS:
            both = [found["results"][side].get(name, {}).get("hits") for side in ("pretrained", "random_init")]
            if None in both:  # of before `hits` were kept
                continue
            cells = []
            for hits in both:
                right = marks(hits)
                for chosen in (rows, ~rows):
                    low, high = bootstrap(right[:, chosen], list(groups[chosen]), 0)
                    cells.append(f"{right[:, chosen].mean():.3f} [{low:.3f}, {high:.3f}]")
            table.add_row(file.parents[2].name, name, *cells, f"{found['chance']['top1']:.3f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    auto_cli(main)
