"""``avssl robustness``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from avssl.applications.robustness.measuring import measure_robustness
from avssl.applications.robustness.results import tables
from avssl.evaluation.given import begin
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl robustness``."""
    made = Parser(
        prog="avssl robustness",
        description="Measure how classifiers from scratch, fine-tuned, and with a turn task beside the class stand "
        "wrong labels, damaged videos and attacks, how well they are calibrated, and whether they notice strange "
        "classes.",
        examples=[
            "avssl robustness VIDEOS --run=runs/simclr",
            "avssl robustness TRAIN --test=TEST --run=runs/rotnet --views.clips=1 --views.num_frames=1 \\\n"
            "      --views.segments=1 --views.size=32",
        ],
    )
    made.add_argument("train", type=Path, help="labelled videos or images to train on, or to divide into folds")
    made.add_function_arguments(measure_robustness, skip={"train", "out"})
    made.add_argument(
        "-o", "--out", type=Path, default=None, help="folder to write to; by default RUN/robustness/COLLECTION"
    )
    return made


def run(words: Sequence[str]) -> None:
    """Measure, print the tables, and write the results and a picture."""
    made = parser()
    begin()
    args = made.instantiate(made.parse_args(words))
    found = measure_robustness(**args)
    console = Console(width=150)
    for table in tables(found):
        console.print(table)
    if isinstance(found.odd, str):
        console.print(f"strange classes are left out: {found.odd}")
