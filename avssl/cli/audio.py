"""``avssl audio``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.cli.synchrony import keep
from avssl.encoders import AudioEncoder
from avssl.evaluation.audio import audio_probe
from avssl.evaluation.given import begin
from avssl.evaluation.results import to_json
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl audio``."""
    made = Parser(
        prog="avssl audio",
        description="Evaluate a run's audio encoder, or a pretrained one, by a linear probe on labelled sounds.",
        examples=[
            "avssl audio SOUNDS --run=runs/syncnet",
        ],
    )
    made.add_argument("root", help="folder of <class>/<sound file>")
    made.add_argument("--run", type=Path, required=True, help="run folder; with --encoder, a new one")
    made.add_argument(
        "--encoder",
        type=AudioEncoder | None,
        default=None,
        help="an encoder instead of the run's, by its class; it is exported to RUN/audio_encoder",
    )
    return made


def run(words: Sequence[str]) -> None:
    """Evaluate, print the results and write them into the run's folder."""
    made = parser()
    begin()
    args = made.instantiate(made.parse_args(words))
    keep(to_json(audio_probe(args.root, args.run, encoder=args.encoder)), args.run, "audio", args.root)
