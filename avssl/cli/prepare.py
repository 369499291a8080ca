"""``avssl prepare``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.index import open_manifest
from avssl.catalog.sending import send, work_folder
from avssl.catalog.summary import summarise
from avssl.media.places import locate
from avssl.media.upload import check_writable
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
            "avssl prepare VIDEOS -o s3://bucket/prepared --shard-size=1GB --stores s3://bucket",
        ],
    )
    made.add_argument("source", type=Path, help="a manifest or a folder of videos, also in a store; not changed")
    made.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        help="folder for the copies and their manifest, also in a store",
    )
    made.add_argument(
        "--work", type=Path | None, help="for a store: local folder in which copies are made (default: in the cache)"
    )
    made.add_class_arguments(CopyOptions)
    made.add_argument("--workers", type=int | None, help="number of processes (default: one per core)")
    made.add_argument("--timeout", type=float, default=1800.0, help="seconds after which a video is given up")
    made.add_argument(
        "--shard-size",
        type=str | None,
        help="write tar archives of at most this size, such as 500MB or 2GB, instead of a file per copy",
    )
    return made


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``500MB``; a kB is 1000 bytes.

    Raises:
        ValueError: if it isn't a positive number, with kB, MB, GB or TB or without.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", text.strip(), re.IGNORECASE)
    size = round(float(found[1]) * 1000 ** " kmgt".index(found[2].lower() or " ")) if found else 0
    if size < 1:
        raise ValueError(f"{text!r}: expected a size such as 500MB or 2GB")
    return size


def run(words: Sequence[str]) -> None:
    """Make the copies, and print the summary."""
    args = parser().parse_args(words)
    options = CopyOptions(**{name: args[name] for name in CopyOptions.__dataclass_fields__})
    size = None if args.shard_size is None else parse_size(args.shard_size)
    place = locate(args.out)
    if place is not None:
        check_writable(place.store)
    out = args.out if place is None else args.work or work_folder(place)
    prepared = prepare(open_manifest(args.source), out, options, args.workers, args.timeout, size)
    print(f"{prepared}\n{summarise(prepared.manifest)}")
    print(f"written to {out}" if place is None else f"sent to {place}; their manifest is {send(prepared, out, place)}")
