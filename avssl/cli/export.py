"""``avssl export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.encoders import load_encoder
from avssl.encoders.exchange import FORMATS, Format, export_as
from avssl.encoders.shapes import Shape, shape_of
from avssl.evaluation.model_card import CARD, model_card
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import write_text
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl export``."""
    made = Parser(
        prog="avssl export",
        description="Write a run's encoder into a folder of its own, for avssl.load_encoder or for other software, "
        "with a model card (README.md) that tells data, method, input and results.",
        examples=[
            "avssl export runs/shuffle_learn -o encoder",
            "avssl export runs/videomae -o videomae --to=huggingface",
            "avssl export runs/simclr -o simclr --to avssl onnx torch-export",
        ],
    )
    made.add_argument("run", type=Path, help="run folder or export folder")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    made.add_argument(
        "--to",
        type=Format,
        nargs="+",
        default=["avssl"],
        help=f"one or several of {', '.join(FORMATS)}",
    )
    made.add_argument(
        "--num_frames", type=int | None, default=None, help="frames per clip of a graph; by default as in training"
    )
    made.add_argument("--size", type=int | None, default=None, help="height and width of its frames; likewise")
    return made


def run(words: Sequence[str]) -> None:
    """Load, write, and print the files' paths."""
    args = parser().parse_args(words)
    check_ranges("", args, num_frames="[1, inf)", size="[1, inf)")
    encoder = load_encoder(args.run)
    frames, height, width = shape_of(encoder)
    shape = Shape(args.num_frames or frames, args.size or height, args.size or width)
    written = {to: export_as(encoder, to, args.output, shape) for to in args.to}
    path = args.output / CARD
    write_text(path, model_card(encoder, args.run, args.output.resolve().name, written, shape))
    for file in [*(file for files in written.values() for file in files), path]:
        print(file)
