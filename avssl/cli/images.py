"""``avssl images``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from avssl.evaluation.given import begin
from avssl.evaluation.images import stages, svm
from avssl.evaluation.report import print_results
from avssl.evaluation.results import Results
from avssl.runtime.parser import Parser

PROTOCOLS: dict[str, Callable[..., Results]] = {"stages": stages, "svm": svm}


def parser() -> Parser:
    """Return the parser of ``avssl images``."""
    made = Parser(
        prog="avssl images",
        description="Evaluate a run's frame encoder, or a pretrained one, on labelled images.",
        examples=[
            "avssl images stages TRAIN TEST --run=runs/rotnet",
            "avssl images svm VOC2007 VOC2007 --run=runs/rotnet",
            "avssl images svm TRAIN TEST --labels=labels.csv --run=runs/rotnet",
            "avssl images stages TRAIN TEST --run=runs/resnet18 --encoder=avssl.encoders.ResNet",
        ],
    )
    commands = made.add_subcommands(dest="protocol")
    for name, protocol in PROTOCOLS.items():
        part = Parser(description=(protocol.__doc__ or "").partition("\n")[0])
        part.add_argument("train", type=Path, help="images to train on")
        part.add_argument("test", type=Path, help="images to test on")
        part.add_function_arguments(protocol, skip={"train", "test"})
        commands.add_subcommand(name, part)
    return made


def run(words: Sequence[str]) -> None:
    """Evaluate, and print the results and their path."""
    made = parser()
    begin()
    args = made.instantiate(made.parse_args(words))
    options = args[args.protocol]
    results = PROTOCOLS[args.protocol](**options)
    print_results(results)
    print(options.run / "eval" / results.protocol["name"] / "results.json")
