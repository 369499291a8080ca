"""``avssl audio``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.cli.synchrony import keep
from avssl.evaluation.audio import audio_probe
from avssl.evaluation.results import to_json
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl audio``."""
    made = Parser(
        prog="avssl audio",
        description="Evaluate a run's audio encoder by a linear probe on labelled sounds.",
        examples=[
            "avssl audio SOUNDS --run=runs/syncnet",
        ],
    )
    made.add_argument("root", help="folder of <class>/<sound file>")
    made.add_argument("--run", type=Path, required=True, help="run folder")
    return made


def run(words: Sequence[str]) -> None:
    """Evaluate, print the results and write them into the run's folder."""
    args = parser().parse_args(words)
    keep(to_json(audio_probe(args.root, args.run)), args.run, "audio", args.root)
