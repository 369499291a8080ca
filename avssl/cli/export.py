"""``avssl export``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from avssl.encoders import load_encoder, save_encoder
from avssl.encoders.video import TorchvisionEncoder
from avssl.runtime.files import write_atomically
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl export``."""
    made = Parser(
        prog="avssl export",
        description="Copy a run's encoder into a folder of its own, which avssl.load_encoder opens. With "
        "--torchvision, also write its weights under torchvision's names, for "
        "torchvision.models.resnet18().load_state_dict(safetensors.torch.load_file(PATH), strict=False).",
        examples=[
            "avssl export runs/shuffle_learn -o encoder",
        ],
    )
    made.add_argument("run", type=Path, help="run folder or export folder")
    made.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    made.add_argument("--torchvision", action="store_true", help="also write torchvision.safetensors")
    return made


def run(words: Sequence[str]) -> None:
    """Load, write, and print the files' paths."""
    args = parser().parse_args(words)
    encoder = load_encoder(args.run)
    if args.torchvision and not isinstance(encoder, TorchvisionEncoder):
        raise ValueError(f"{args.run}: {type(encoder).__name__} is not one of torchvision's networks")
    print(save_encoder(encoder, args.output, encoder.card))
    if isinstance(encoder, TorchvisionEncoder) and args.torchvision:
        path = args.output / "torchvision.safetensors"
        write_atomically(path, lambda file: file.write(save(encoder.torchvision_state_dict())))
        print(path)
