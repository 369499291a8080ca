"""Copy the encoder of a run into a folder of its own, and optionally under torchvision's names.

    python tools/export.py runs/shuffle_learn -o shuffle_learn_encoder --torchvision

Then: `avssl.load_encoder("shuffle_learn_encoder")`, or without avssl

    torchvision.models.resnet18().load_state_dict(
        safetensors.torch.load_file("shuffle_learn_encoder/torchvision.safetensors"), strict=False)
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser
from safetensors.torch import save_file

from avssl.encoders import load_encoder, save_encoder
from avssl.encoders.video import TorchvisionEncoder


def main() -> None:
    """Parse, load, write."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="run folder or export folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--torchvision", action="store_true", help="also write torchvision.safetensors")
    args = parser.parse_args()

    encoder = load_encoder(args.run)
    print(save_encoder(encoder, args.output, encoder.card))
    if args.torchvision:
        if not isinstance(encoder, TorchvisionEncoder):
            raise SystemExit(f"{args.run}: {type(encoder).__name__} is not one of torchvision's networks")
        path = args.output / "torchvision.safetensors"
        save_file(encoder.torchvision_state_dict(), path)
        print(path)


if __name__ == "__main__":
    main()
