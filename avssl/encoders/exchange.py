"""Exports of encoders that other software loads: torchvision, transformers, ONNX runtimes, torch.export.

What a format can't hold is refused with the reason and the formats that can; nothing is written approximately.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision
from safetensors.torch import save
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.encoders.export import save_encoder
from avssl.encoders.shapes import Shape, described, shape_of
from avssl.runtime.files import write_atomically

Format = Literal["avssl", "torchvision", "huggingface", "onnx", "torch-export"]
FORMATS = get_args(Format)
LINKS = ("fc.", "classifier.", "head.")  # how the names of torchvision's classifiers begin


@dataclass(frozen=True)
class Exchange:
    """A format.

    Attributes:
        obstacle: says why an encoder can't be expressed in it; None if it can.
        write: writes files into a folder and returns them.
    """

    obstacle: Callable[[Encoder], str | None]
    write: Callable[[Encoder, Path, Shape], list[Path]]


def export_as(encoder: Encoder, to: Format, folder: str | Path, shape: Shape | None = None) -> list[Path]:
    """Write an encoder in a format; return the files.

    Args:
        encoder: the encoder, with the card that it was loaded with.
        to: ``avssl``; ``torchvision``: weights for ``load_state_dict`` of torchvision's network, which only lacks its
            classifier; ``huggingface``: a folder for ``from_pretrained`` of transformers; ``onnx`` and
            ``torch-export``: a graph from normalised clips ``[B, T, 3, H, W]`` to features ``[B, D]``.
        folder: created if it does not exist.
        shape: the clips of a graph, and of transformers' config; by default those that the card tells.

    Raises:
        ValueError: if the encoder can't be expressed in this format; says why, and in which it can.
        ImportError: if a package that writes the format is not installed.
    """
    formats, folder = exchanges(), Path(folder)
    if (reason := formats[to].obstacle(encoder)) is not None:
        others = [name for name, other in formats.items() if other.obstacle(encoder) is None]
        raise ValueError(f"{described(encoder)} can't be written for {to}: {reason}. It can for {', '.join(others)}")
    folder.mkdir(parents=True, exist_ok=True)
    return formats[to].write(encoder.eval(), folder, shape or shape_of(encoder))


def exchanges() -> dict[str, Exchange]:
    """Return the formats by name."""
    from avssl.encoders import graphs, transformers_folder

    def nothing(encoder: Encoder) -> None:
        return None

    return {
        "avssl": Exchange(nothing, lambda encoder, folder, _: [save_encoder(encoder, folder, encoder.card)]),
        "torchvision": Exchange(no_torchvision, write_torchvision),
        "huggingface": Exchange(transformers_folder.obstacle, transformers_folder.write),
        "onnx": Exchange(nothing, graphs.write_onnx),
        "torch-export": Exchange(nothing, graphs.write_program),
    }


def torchvision_name(encoder: Encoder) -> str | None:
    """Return torchvision's name of an encoder's network; None if torchvision has no such network."""
    kind, config = type(encoder).__name__, encoder.config
    if kind in ("ResNet", "GreyResNet"):
        return f"resnet{config['depth']}"
    if kind == "Torchvision":
        return config["name"]
    return {"R3D": "r3d_18", "MC3": "mc3_18", "R2Plus1D": "r2plus1d_18", "S3D": "s3d"}.get(kind)


def no_torchvision(encoder: Encoder) -> str | None:
    """Return what keeps an encoder's weights from fitting a network of torchvision; None if they do."""
    name = torchvision_name(encoder)
    if name is None:
        return "torchvision has no such network"
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name).state_dict()
    ours = network(encoder).state_dict()
    expected = {key for key in theirs if not key.startswith(LINKS)}
    if differing := sorted(expected ^ set(ours)):
        return f"torchvision's {name} has other weights, such as {differing[0]}"
    for key in expected:
        if ours[key].shape != theirs[key].shape:
            sizes = f"{list(ours[key].shape)}, not {list(theirs[key].shape)}"
            return f"torchvision's {name} has another size: {key} is {sizes} (width 64 is torchvision's)"
    return None


def network(encoder: Encoder) -> nn.Module:
    """Return torchvision's module in an encoder."""
    found = encoder.net
    assert isinstance(found, nn.Module)
    return found


def write_torchvision(encoder: Encoder, folder: Path, shape: Shape) -> list[Path]:
    """Write ``torchvision.safetensors``."""
    tensors: dict[str, Tensor] = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in network(encoder).state_dict().items()
    }
    name = torchvision_name(encoder)
    path = folder / "torchvision.safetensors"
    write_atomically(path, lambda file: file.write(save(tensors, metadata={"network": str(name)})))
    return [path]
