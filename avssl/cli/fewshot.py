"""``avssl fewshot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.applications.fewshot import few_shots, print_few_shots
from avssl.evaluation import config
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl fewshot``."""
    made = config.parser(
        "Classify videos from one or five labelled videos per class: 600 episodes on the frozen features of runs, of "
        "the same networks untrained, and on motion energy. CONFIG is a protocol as for avssl evaluate.",
        "avssl fewshot",
        [
            "avssl fewshot ut_interaction --run=runs/simclr -o few",
            "avssl fewshot folder --data.root=VIDEOS --run runs/simclr runs/moco -o few",
            "avssl fewshot ut_interaction --run=runs/simclr -o few --episodes.ways=[3] --episodes.shots=[1,2]",
        ],
        several=True,
    )
    made.add_argument("-o", "--out", type=Path, required=True, help="folder for fewshot.json and fewshot.png")
    return made


def run(words: Sequence[str]) -> None:
    """Measure, and print the accuracies and the files' paths."""
    protocol, args = config.parse(parser(), words)
    found = few_shots(protocol, args.run, args.out, args.machine, args.encoder, args.own_size)
    print_few_shots(found)
    print(args.out / "fewshot.json")
    print(args.out / "fewshot.png")
