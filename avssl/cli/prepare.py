"""``avssl prepare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.index import open_manifest
from avssl.catalog.summary import summarise
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl prepare``."""
    made = Parser(
        prog="avssl prepare",
        description="Make training-ready copies: small H.264 with close keyframes, and 16 kHz mono sound aligned on "
        "the time axis.",
        examples=[
            "avssl prepare VIDEOS -o prepared",
            "avssl train CONFIG --data.root=prepared",
        ],
    )
    made.add_argument("source", type=Path, help="a manifest or a folder of videos; nothing is written there")
    made.add_argument("-o", "--out", type=Path, required=True, help="folder for the copies and their manifest")
    made.add_class_arguments(CopyOptions)
    made.add_argument("--workers", type=int | None, help="number of processes (default: one per core)")
    made.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a video is given up")
    return made


def run(words: Sequence[str]) -> None:
    """Make the copies, and print the summary."""
    args = parser().parse_args(words)
    options = CopyOptions(**{name: args[name] for name in CopyOptions.__dataclass_fields__})
    prepared = prepare(open_manifest(args.source), args.out, options, args.workers, args.timeout)
    print(f"{prepared}\n{summarise(prepared.manifest)}\nwritten to {args.out}")
