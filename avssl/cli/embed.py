"""``avssl embed``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from avssl.evaluation import config
from avssl.evaluation.embedding import embed
from avssl.runtime.checks import check_ranges
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl embed``."""
    made = config.parser(
        "Draw a run's features of a protocol's videos: a map coloured by class, and sheets of nearest neighbours. "
        "The pictures go next to the results, to <run>/eval/<protocol>/.",
        "avssl embed",
        ["avssl embed ut_interaction --run=runs/shuffle_learn --method=pca"],
    )
    made.add_argument("--method", type=Literal["pca", "tsne"], default="tsne", help="projection of the map")
    made.add_argument("--queries", type=int, default=2, help="videos per class on the sheet of neighbours")
    return made


def run(words: Sequence[str]) -> None:
    """Draw, and print the pictures' paths."""
    protocol, args = config.parse(parser(), words)
    check_ranges("", args, queries="[1, inf)")
    folder = args.run / "eval" / protocol.name
    drawn = (args.method, args.queries, args.encoder, args.own_size)
    for path in embed(protocol, args.run, folder, args.machine, *drawn):
        print(path)
