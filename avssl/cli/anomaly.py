"""``avssl anomaly``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from avssl.applications.anomaly.finding import find_odd, print_findings
from avssl.applications.anomaly.measuring import CLASS, Normal, images_protocol, one_class, print_one_class
from avssl.applications.subjects import open_task
from avssl.evaluation import config, given
from avssl.evaluation.protocol import Protocol
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser, config_first


def parser() -> Parser:
    """Return the parser of ``avssl anomaly``."""
    made = Parser(
        prog="avssl anomaly",
        description="Find what is odd among videos, by videos that are normal. `find` scores videos and their moments; "
        "`classes` and `images` measure how well classes that were not among the normal ones are found.",
        examples=[
            "avssl anomaly find NORMAL VIDEOS --run=runs/transformations -o odd",
            "avssl anomaly find NORMAL VIDEOS --run runs/simclr runs/syncnet --odd=known.csv -o odd",
            "avssl anomaly classes ut_interaction --run=runs/simclr -o odd",
            "avssl anomaly images TRAIN TEST --run='runs/{class}' --normal=one -o odd",
        ],
    )
    commands = made.add_subcommands(dest="command")
    finding = Parser(description="Score videos and their moments; set a threshold on normal videos.")
    finding.add_argument("normal", type=Path, help="folder or manifest of normal videos")
    finding.add_argument("videos", type=Path, help="folder or manifest of the videos to score")
    _add_runs(finding, "run folders; of several, the largest standardised score counts")
    finding.add_function_arguments(find_odd, skip={"normal", "videos", "runs", "out"})
    commands.add_subcommand("find", finding)

    classes = config.parser("Measure how well each class of a protocol is found odd.", "avssl anomaly", several=True)
    classes.add_argument("-o", "--out", type=Path, required=True, help="folder for anomaly.json and anomaly.png")
    _add_normal(classes)
    commands.add_subcommand("classes", classes)

    images = Parser(description="Measure how well each class of images is found odd.")
    images.add_argument("train", type=Path, help="images to fit detectors to, a folder per class")
    images.add_argument("test", type=Path, help="images to score, of the same classes")
    _add_runs(images, "run folders; {class} in one stands for a run per class, trained on what is normal then")
    _add_normal(images)
    images.add_argument("--size", type=int, default=32, help="height and width that images are squashed to")
    images.add_argument("--seeds", type=tuple[int, ...], default=(0,), help="seeds of untrained networks")
    images.add_class_arguments(Machine, "machine")
    commands.add_subcommand("images", images)
    return made


def _add_runs(made: Parser, words: str) -> None:
    made.add_argument("--run", type=Path, required=True, nargs="+", help=words)
    made.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")


def _add_normal(made: Parser) -> None:
    words = f"{' or '.join(get_args(Normal))}: a single class is normal, or all but one"
    made.add_argument("--normal", type=Normal, default="rest", help=words)


def run(words: Sequence[str]) -> None:
    """Score or measure, and print the result and the files' paths."""
    made = parser()
    given.begin()
    if words and words[0] == "classes":
        words = ["classes", *config_first(words[1:], "evaluation")]
    args = made.instantiate(made.parse_args(list(words)))
    options = args[args.command]
    if args.command == "find":
        chosen = {name: options[name] for name in options.keys() if name not in ("run", "out", "normal", "videos")}  # noqa: SIM118
        print_findings(find_odd(options.normal, options.videos, options.run, options.out, **chosen))
        names = ["odd.json", "odd.csv", "curves.png", "sheet.png"]
    else:
        if args.command == "classes":
            protocol = Protocol(**{name: options[name] for name in Protocol.__dataclass_fields__})
            whole = [run for run in options.run if CLASS not in str(run)]
            if whole or options.encoder is not None:
                protocol = open_task(protocol, whole, options.encoder, options.own_size)[0].protocol
        else:
            protocol = images_protocol(options.train, options.test, options.size, options.seeds)
        runs = [str(run) for run in options.run]
        print_one_class(one_class(protocol, runs, options.out, options.machine, options.normal))
        names = ["anomaly.json", "anomaly.png"]
    for name in names:
        print(options.out / name)
