"""``avssl fit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.cli.index import parse_columns
from avssl.encoders import Encoder
from avssl.evaluation import given
from avssl.evaluation.classifier.card import summary_lines, write_fitted
from avssl.evaluation.classifier.fitting import OwnViews, check_output, fit
from avssl.evaluation.classifier.settings import How
from avssl.evaluation.finetune import Budget
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.splits import Split
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl fit``."""
    made = Parser(
        prog="avssl fit",
        usage="avssl fit LABELLED --run=RUN [--labels LIST] [--how=linear|attentive|fine_tune] -o MODEL [...]",
        description="Make a classifier of labelled videos and a run's encoder, or a pretrained one, for avssl predict. "
        "What is chosen is chosen by inner folds; the accuracy on its card is that of outer folds.",
        examples=[
            "avssl fit VIDEOS --run=runs/shuffle_learn -o model",
            "avssl fit VIDEOS --labels few.csv --run=runs/shuffle_learn -o model",
            "avssl fit VIDEOS --run=runs/lite0 --encoder=avssl.encoders.Timm \\\n"
            "      --encoder.name=tf_efficientnet_lite0 --encoder.weights=lite0.safetensors -o model",
        ],
    )
    made.add_argument("labelled", type=Path, help="folder of class folders, or a manifest; with --labels, of videos")
    made.add_argument("--run", type=Path, required=True, help="run folder or export folder; with --encoder, a new one")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder to write, which does not exist yet")
    made.add_argument("--labels", action="append", help="a table path,label; several times for several")
    made.add_argument("--columns", type=str | None, help="its columns, as for avssl index: path=file,labels=class")
    made.add_argument("--how", type=How, default="linear", help="read-out")
    made.add_argument(
        "--encoder",
        type=Encoder | None,
        default=None,
        help="an encoder instead of the run's, by its class; it is exported to RUN/encoder",
    )
    made.add_class_arguments(OwnViews, "views")
    made.add_argument("--split", type=Split | None, default=None, help="outer folds (default: five, groups kept whole)")
    made.add_argument("--group", type=str | None, help="or: regular expression in file names for what is not split")
    made.add_argument(
        "--shapes",
        type=list[str] | None,
        default=None,
        help="average over these shapes of the features: pooled, segments, sequence, whole, whole_order, whole_places, "
        "whole_steps (default: all)",
    )
    made.add_class_arguments(LinearProbe, "linear")
    made.add_class_arguments(Budget, "budget")
    made.add_argument("--curve", type=bool, default=True, help="also measure how accuracy grows with the labels")
    made.add_class_arguments(Machine, "machine")
    return made


def run(words: Sequence[str]) -> None:
    """Fit, write, and print what is known of the classifier."""
    made = parser()
    given.begin()
    args = made.instantiate(made.parse_args(words))
    check_output(args.output)
    fitted = fit(
        args.labelled,
        args.run,
        args.how,
        args.labels or (),
        parse_columns(args.columns or ""),
        args.views,
        args.split,
        args.group,
        args.shapes,
        args.linear,
        args.budget,
        args.curve,
        args.machine,
        args.encoder,
    )
    folder = write_fitted(fitted, args.output)
    print("\n".join(summary_lines(fitted)))
    print(f"written to {folder}")
