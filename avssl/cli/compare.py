"""``avssl compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from avssl.applications.compare.measuring import compare_runs
from avssl.applications.compare.results import tables
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl compare``."""
    made = Parser(
        prog="avssl compare",
        description="Compare results of several runs and protocols: whether the pretext task, linear read-outs or "
        "RankMe predict fine-tuning, what that gives over training from scratch, and slopes over what a plan varies.",
        examples=[
            "avssl compare benchmarks/results/images benchmarks/results/temporal -o compared",
            "avssl compare runs/simclr runs/moco runs/vcop runs/pace",
        ],
    )
    made.add_argument("results", type=Path, nargs="+", help="run folders, or folders of runs such as a plan's results")
    made.add_argument("-o", "--out", type=Path, default=None, help="folder for compare.json and compare.png")
    return made


def run(words: Sequence[str]) -> None:
    """Compare, print the tables, and write the results and a picture."""
    args = parser().parse_args(words)
    console = Console(width=160)
    for table in tables(compare_runs(args.results, args.out)):
        console.print(table)
