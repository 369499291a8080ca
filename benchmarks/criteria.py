"""How well label-free criteria foretold transfer, over all runs of which the results are kept here.

    python benchmarks/criteria.py

Rank correlation (Spearman, 95 % interval over methods) between a criterion on held-out videos and the video top-1 of a
read-out under ``ut_interaction``. Seeds of a method are averaged, and its plans kept apart.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from avssl.encoders import FrameEncoder
from avssl.encoders.export import current_class
from avssl.evaluation.report import cell, scores
from avssl.evaluation.results import Results
from avssl.studies import rank_correlation

KEPT = Path(__file__).parent / "results"
CRITERIA = ("rankme", "feature_std", "uniformity", "alignment")
READ_OUTS = ("linear top1", "linear_sequence top1", "neighbours top1")


def kept(of_frames: bool) -> dict[str, list[tuple[dict[str, float], dict[str, float]]]]:
    """Return criteria and accuracies of each method's runs, of encoders of frames or of clips."""
    import avssl.encoders

    found = defaultdict(list)
    for file in sorted(KEPT.glob("*/*/eval/ut_interaction/results.json")):
        run = file.parents[2]
        if not (run / "held_out.json").exists():
            continue
        card = json.loads((run / "encoder/encoder.json").read_text())
        kind = getattr(avssl.encoders, current_class(card["class"]).rpartition(".")[2])
        if issubclass(kind, FrameEncoder) != of_frames:
            continue
        criteria = json.loads((run / "held_out.json").read_text())["collapse"]
        reached = {name: score.value for name, score in scores(Results.read(file), "pretrained").items()}
        found[f"{run.parent.name}/{run.name.rpartition('-')[0]}"].append((criteria, reached))
    return found


def main() -> None:
    """Print the table."""
    table = Table("encoders of", "criterion", "methods", *READ_OUTS)
    for words, of_frames in (("clips", False), ("frames", True)):
        methods = kept(of_frames)
        for criterion in CRITERIA:
            first = [np.mean([one[0].get(criterion, np.nan) for one in runs]) for runs in methods.values()]
            cells = []
            for name in READ_OUTS:
                second = [np.mean([one[1].get(name, np.nan) for one in runs]) for runs in methods.values()]
                found = rank_correlation(first, second)
                cells.append("" if found is None else cell(found, "+"))
            table.add_row(words, criterion, str(int(np.isfinite(first).sum())), *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
