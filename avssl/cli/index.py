"""``avssl index``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.formats import FORMATS
from avssl.catalog.index import build_index
from avssl.catalog.measuring import Hashing
from avssl.catalog.summary import summarise
from avssl.runtime.executors import open_executor, parse_share
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl index``."""
    made = Parser(
        prog="avssl index",
        description="Measure the videos below a folder and write their manifest.",
        examples=[
            r"avssl index VIDEOS -o videos.parquet --group 'seq\d+'",
            "avssl index EPIC -o epic.parquet --labels EPIC_100_train.csv --format epic_kitchens:noun",
            "avssl index VIDEOS -o videos.parquet --labels list.csv --columns path=file,start=t0,stop=t1,label=class",
            "avssl index LEROBOT_V3 -o episodes.parquet",
            "avssl index VIDEOS -o videos.parquet --shard=1/8",
        ],
    )
    made.add_argument("root", type=Path, help="folder of videos or archives; nothing is written there")
    made.add_argument("-o", "--out", type=Path, required=True, help="manifest to write, a .parquet file")
    made.add_argument(
        "--labels",
        action="append",
        help="auto (default: the data set's own lists, or folders), folders, none, or a list: a table with the columns "
        "path,label[,group,view,start,stop], "
        "or of the format or the columns given; may be given several times",
    )
    made.add_argument("--format", type=str | None, help=f"format of the lists: {', '.join(sorted(FORMATS))}")
    made.add_argument(
        "--columns",
        type=str | None,
        help="columns of the lists, and how they are written: path=filename,start=t0,stop=t1,label=class,unit=ms,...",
    )
    made.add_argument("--group", type=str | None, help="regular expression that finds the group in the relative path")
    made.add_argument("--view", type=str | None, help="regular expression that finds the camera in the relative path")
    made.add_argument("--workers", type=int | None, help="number of processes (default: one per core)")
    made.add_argument("--timeout", type=float, default=300.0, help="seconds after which a file is given up")
    made.add_argument("--hash", type=Hashing | None, help="full (default): every byte; quick: size and both ends")
    made.add_argument(
        "--shard", type=str | None, help="I/N: measure share I of N and write no manifest; run once more without it"
    )
    made.add_argument("--executor", type=str | None, help="dask://HOST:PORT, to measure on a Dask cluster")
    made.add_argument("--no-motion", action="store_true", help="read packets only, decode nothing: no motion profile")
    made.add_argument("--retry", action="store_true", help="measure rejected files again")
    return made


def parse_columns(text: str) -> dict[str, str | list[str]]:
    """Read ``path=filename,start=t0``; a value may hold commas, and ``names`` may be given several times.

    Raises:
        ValueError: for a part without ``=``, or another key given twice.
    """
    columns: dict[str, str | list[str]] = {}
    names = []
    for part in re.split(r",(?=[a-z]+=)", text) if text else ():
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f"--columns: expected key=column, got {part!r}")
        if key == "names":
            names.append(value)
        elif key in columns:
            raise ValueError(f"--columns: {key} is given twice")
        else:
            columns[key] = value
    return {**columns, "names": names} if names else columns


def run(words: Sequence[str]) -> None:
    """Index, and print the summary."""
    options = vars(parser().parse_args(words))
    root, out, motion = options.pop("root"), options.pop("out"), not options.pop("no_motion")
    given = options["labels"] or ["auto"]
    options["labels"] = given[0] if len(given) == 1 else given
    options["columns"] = parse_columns(options["columns"] or "")
    options["hashing"], share = options.pop("hash"), options.pop("shard")
    shard = parse_share(share)
    with open_executor(options.pop("executor")) as executor:
        indexed = build_index(root, out, motion=motion, shard=shard, executor=executor, **options)
    print(summarise(indexed))
    print(f"written to {out}" if shard is None else f"share {share} is measured; all shares make {out} without --shard")
