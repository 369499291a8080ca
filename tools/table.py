"""Runs of one protocol in one table; refuses to mix protocols.

    python tools/table.py runs/* --protocol ut_interaction -o results.md
    python tools/table.py runs/* --protocol ut_interaction -o results.png  # every run with its interval
    python tools/table.py runs/* --protocol ut_interaction --gain          # over the same network untrained

Published numbers stand in a column of their own: they come from other data, networks and budgets.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console
from rich.table import Table

from avssl.evaluation.report import advantage, collect, comma_separated, comparison, markdown

PUBLISHED = Path(__file__).parents[1] / "configs" / "eval" / "published.yaml"


def main() -> None:
    """Parse, collect, print, write."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", type=Path, nargs="+", help="run folders")
    parser.add_argument("--protocol", type=str, default=None, help="where the runs have results of several")
    parser.add_argument(
        "-o", "--output", type=Path, default=None, help="write Markdown (.md), CSV (.csv) or a picture (.png)"
    )
    parser.add_argument(
        "--gain", action="store_true", help="what pretraining adds to no training, or to training from scratch"
    )
    args = parser.parse_args()
    drawn = args.output is not None and args.output.suffix == ".png"
    if drawn and args.gain:
        raise SystemExit("error: a picture shows runs beside their baselines; leave --gain out, or write .md or .csv")
    try:
        results = collect(args.runs, args.protocol)
        headings, rows = advantage(results) if args.gain else comparison(results, PUBLISHED)
        if drawn:
            from avssl.evaluation.pictures import comparison_picture

            comparison_picture(results, args.output)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    if not rows:
        raise SystemExit("error: these results are of before the gain could be told: run tools/evaluate.py again")
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if args.output is not None and not drawn:
        write = comma_separated if args.output.suffix == ".csv" else markdown
        args.output.write_text(write(headings, rows))


if __name__ == "__main__":
    main()
