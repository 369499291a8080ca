"""``avssl show``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from avssl.runtime.checks import check_ranges
from avssl.training.sheet import show


class OwnOptions(argparse.ArgumentParser):
    """Parser of some options among those of another parser."""

    def error(self, message: str) -> NoReturn:
        """Exit with one line."""
        raise SystemExit(f"error: {message}")


def parser() -> OwnOptions:
    """Return the parser of ``avssl show``; the options that it leaves are those of ``avssl train``."""
    made = OwnOptions(
        prog="avssl show",
        usage="avssl show CONFIG -o PICTURE [--run RUN] [--videos N] [--key.sub=value ...]",
        description="Draw a method's inputs and targets: frames with their times, and the sound. With --run, draw "
        "held-out videos and what the trained network predicts.",
        allow_abbrev=False,
    )
    made.add_argument("config", help="a config of avssl train; its overrides may follow")
    made.add_argument("-o", "--out", type=Path, required=True, help="picture to write, such as sheet.png")
    made.add_argument("--videos", type=int, default=4, help="number of videos (default: 4)")
    made.add_argument("--run", type=Path, help="run folder, trained with this config")
    return made


def run(words: Sequence[str]) -> None:
    """Draw, and print the picture's path."""
    known, overrides = parser().parse_known_args(words)
    check_ranges("", known, videos="[1, inf)")
    print(show([known.config, *overrides], known.out, known.videos, known.run))
