"""``avssl predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.evaluation.classifier.model import load_classifier
from avssl.evaluation.classifier.predicting import predict
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl predict``."""
    made = Parser(
        prog="avssl predict",
        usage="avssl predict MODEL VIDEOS ... -o PREDICTIONS [--window S] [--hop S] [--machine.workers=N ...]",
        description="Label videos with a classifier that avssl fit has made: a table, and a sheet of what to label "
        "next. Videos are only read. Run the same command again to resume.",
        examples=[
            "avssl predict model VIDEOS -o predictions.csv",
            "avssl predict model a.mp4 b.mp4 long.mkv --window=4 --hop=1 -o predictions.parquet",
        ],
    )
    made.add_argument("model", type=Path, help="folder that avssl fit has written")
    made.add_argument("videos", type=Path, nargs="+", help="folders, files or manifests (.parquet)")
    made.add_argument("-o", "--output", type=Path, required=True, help="table to write, .csv or .parquet")
    made.add_argument(
        "--window",
        type=float | None,
        default=None,
        help="seconds that are labelled on their own; 0: whole videos; by default as the model's card says",
    )
    made.add_argument("--hop", type=float | None, default=None, help="seconds between windows; by default half of one")
    made.add_argument("--sheet", type=int, default=24, help="videos on the sheet; 0 draws none")
    made.add_class_arguments(Machine, "machine")
    return made


def run(words: Sequence[str]) -> None:
    """Label, and print the numbers and the files' paths."""
    made = parser()
    args = made.instantiate(made.parse_args(words))
    model = load_classifier(args.model, args.machine)
    counts = predict(model, args.videos, args.output, args.window, args.hop, args.sheet)
    print(
        f"{counts['videos']} videos, {counts['rows']} rows, {counts['unreadable']} unreadable, {counts['near']} rows "
        "near an earlier one"
    )
    print(args.output)
    if (sheet := args.output.with_suffix(".png")).exists():
        print(sheet)
