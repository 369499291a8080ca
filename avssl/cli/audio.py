"""``avssl audio``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.cli.synchrony import keep
from avssl.encoders import AudioEncoder
from avssl.evaluation.audio import SoundProtocol, audio_probe, evaluate_sounds
from avssl.evaluation.given import begin
from avssl.evaluation.report import print_results, scores
from avssl.evaluation.results import to_json
from avssl.runtime.configs import packaged
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser, config_first

DESCRIPTION = (
    "Evaluate a run's audio encoder, or a pretrained one, on labelled sounds: by a linear probe on a folder of "
    "<class>/<sound file>, or by a protocol (esc50, vggsound, audioset, or a YAML file) with its own lists and folds."
)
EXAMPLES = [
    "avssl audio SOUNDS --run=runs/syncnet",
    "avssl audio esc50 --root=ESC-50/audio --split.init_args.labels=ESC-50/meta/esc50.csv --run=runs/avid",
]


def parser() -> Parser:
    """Return the parser of ``avssl audio SOUNDS``."""
    made = Parser(prog="avssl audio", description=DESCRIPTION, examples=EXAMPLES)
    made.add_argument("root", help="folder of <class>/<sound file>, or the name of a protocol")
    _add_encoder(made)
    return made


def protocol_parser() -> Parser:
    """Return the parser of ``avssl audio PROTOCOL``."""
    usage = "avssl audio PROTOCOL --root=SOUNDS --run=RUN [--encoder=CLASS ...] [--key.sub=value ...]"
    made = Parser(prog="avssl audio", usage=usage, description=DESCRIPTION, examples=EXAMPLES)
    made.add_argument("--config", action="config", help="a YAML file; given as the first argument, without --config")
    _add_encoder(made)
    made.add_class_arguments(SoundProtocol)
    made.add_class_arguments(Machine, "machine")
    return made


def _add_encoder(made: Parser) -> None:
    made.add_argument("--run", type=Path, required=True, help="run folder; with --encoder, a new one")
    made.add_argument(
        "--encoder",
        type=AudioEncoder | None,
        default=None,
        help="an encoder instead of the run's, by its class; it is exported to RUN/audio_encoder",
    )


def run(words: Sequence[str]) -> None:
    """Evaluate, print the results and write them into the run's folder."""
    begin()
    if words and not Path(words[0]).is_dir() and (words[0].endswith(".yaml") or words[0] in packaged("audio")):
        made = protocol_parser()
        args = made.instantiate(made.parse_args(config_first(words, "audio")))
        protocol = SoundProtocol(**{name: args[name] for name in SoundProtocol.__dataclass_fields__})
        results = evaluate_sounds(protocol, args.run, args.machine, args.encoder)
        print_results(results)
        for name, score in scores(results, "log_mel").items():
            print(f"log-mel spectrogram, {name}: {score.value:.3f}")
        print(args.run / "eval" / protocol.name / "results.json")
        return
    made = parser()
    args = made.instantiate(made.parse_args(words))
    keep(to_json(audio_probe(args.root, args.run, encoder=args.encoder)), args.run, "audio", args.root)
