"""``avssl table``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avssl.evaluation.report import advantage, collect, comma_separated, comparison, joint, markdown
from avssl.runtime.configs import configs_folder
from avssl.runtime.files import write_text
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl table``."""
    made = Parser(
        prog="avssl table",
        description="Compare runs under one protocol. Published numbers have a column of their own: they come from "
        "other data, networks and budgets.",
        examples=[
            "avssl table runs/* --protocol ut_interaction -o results.md",
            "avssl table runs/* --protocol ut_interaction --gain",
            "avssl table runs/continued --protocol ut_interaction --over runs/before",
            "avssl table runs/* --protocol epic_verbs --both epic_nouns",
        ],
    )
    made.add_argument("runs", type=Path, nargs="+", help="run folders")
    made.add_argument("--protocol", type=str, default=None, help="needed where the runs have results of several")
    made.add_argument(
        "-o", "--output", type=Path, default=None, help="Markdown (.md), CSV (.csv) or picture (.png) to write"
    )
    made.add_argument(
        "--gain", action="store_true", help="show the gain over the untrained network, or over training from scratch"
    )
    made.add_argument(
        "--over", type=Path, default=None, help="show the gain over this run instead, on the same recordings"
    )
    made.add_argument(
        "--both", type=str, default=None, help="show how often runs are right under --protocol and under this one"
    )
    return made


def run(words: Sequence[str]) -> None:
    """Collect, print, and write the table or picture."""
    args = parser().parse_args(words)
    drawn = args.output is not None and args.output.suffix == ".png"
    gained = args.gain or args.over is not None
    if args.both is not None and (drawn or gained):
        raise ValueError("--both makes a table of its own: leave --gain and --over out, and write .md or .csv")
    if drawn and gained:
        raise ValueError("a picture shows runs beside their baselines; leave --gain out, or write .md or .csv")
    others = [] if args.over is None else [args.over]
    base, results = None, collect([*others, *args.runs], args.protocol)
    if others:
        base, *results = results
    published = configs_folder() / "eval/published.yaml"
    if args.both is not None:
        headings, rows = joint(results, collect(args.runs, args.both))
    else:
        headings, rows = advantage(results, base) if gained else comparison(results, published)
    if not rows:
        raise ValueError("these results are too old to tell the gain: run avssl evaluate again")
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if drawn:
        from avssl.evaluation.pictures import comparison_picture

        comparison_picture(results, args.output)
    elif args.output is not None:
        write = comma_separated if args.output.suffix == ".csv" else markdown
        write_text(args.output, write(headings, rows))
