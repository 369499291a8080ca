"""``avssl index``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.index import build_index
from avssl.catalog.summary import summarise
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl index``."""
    made = Parser(
        prog="avssl index",
        description="Measure the videos below a folder and write their manifest.",
        examples=[
            r"avssl index VIDEOS -o videos.parquet --group 'seq\d+'",
        ],
    )
    made.add_argument("root", type=Path, help="folder of videos; nothing is written there")
    made.add_argument("-o", "--out", type=Path, required=True, help="manifest to write, a .parquet file")
    made.add_argument(
        "--labels", default="auto", help="auto, folders, none, or a CSV with columns path,label[,group,view]"
    )
    made.add_argument("--group", type=str | None, help="regular expression that finds the group in the relative path")
    made.add_argument("--view", type=str | None, help="regular expression that finds the camera in the relative path")
    made.add_argument("--workers", type=int | None, help="number of processes (default: one per core)")
    made.add_argument("--timeout", type=float, default=300.0, help="seconds after which a file is given up")
    made.add_argument("--no-motion", action="store_true", help="read packets only, decode nothing: no motion profile")
    made.add_argument("--retry", action="store_true", help="measure rejected files again")
    return made


def run(words: Sequence[str]) -> None:
    """Index, and print the summary."""
    options = vars(parser().parse_args(words))
    root, out, motion = options.pop("root"), options.pop("out"), not options.pop("no_motion")
    print(f"{summarise(build_index(root, out, motion=motion, **options))}\nwritten to {out}")
