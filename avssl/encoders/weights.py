"""Weights that another library has written: reading them, and accounting for every tensor."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from avssl.encoders.conv import Conv2d, Conv3d

WRAPPERS = ("state_dict", "model")  # names under which a training script keeps the weights in its checkpoint
SEEN = 10_000  # batches that running statistics are taken to average, if their file does not say


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors``, or from torch's format without running any code in it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds something else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no file of weights there (a local .pth or .safetensors is needed)")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error}). Download it again") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path}: torch can't read it as weights alone: {error}. Save its state_dict() again, by torch.save or as "
            "safetensors, where you trust the file"
        ) from error
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not (isinstance(found, dict) and found and all(isinstance(value, Tensor) for value in found.values())):
        raise ValueError(f"{path}: not a state dict (names of tensors). Save model.state_dict() and give that file")
    return found


def fit(network: nn.Module, state: Mapping[str, Tensor], where: str | Path, dropped: Iterable[str] = ()) -> None:
    """Load another library's weights into its network; nothing may be missing or left over.

    Batch normalisation whose file counts no batches is taken to have seen `SEEN`: otherwise its statistics would count
    as those of an untrained network, and `avssl.methods.momentum` would correct them for a beginning they didn't have.

    Args:
        network: the network, without its head.
        state: the weights; floats are converted to the network's type.
        where: the file, for error messages.
        dropped: prefixes of names that are left out knowingly, the head's.

    Raises:
        ValueError: lists the missing, unexpected and misshapen tensors.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(dropped))}
    expected = network.state_dict()
    uncounted = [name for name in expected.keys() - kept.keys() if name.endswith("num_batches_tracked")]
    kept.update({name: torch.tensor(0) for name in uncounted})
    lines = misfits(expected, kept)
    if lines:
        raise ValueError(f"{where}: these weights do not fit {type(network).__name__}:\n" + "\n".join(lines))
    network.load_state_dict(kept)
    count_batches(network)


def misfits(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> list[str]:
    """Return a line for each tensor that is missing, unexpected or misshapen."""
    lines = [f"  missing     {name} {list(expected[name].shape)}" for name in expected if name not in got]
    lines += [f"  unexpected  {name} {list(got[name].shape)}" for name in got if name not in expected]
    lines += [
        f"  shape       {name}: the class has {list(expected[name].shape)}, the file {list(got[name].shape)}"
        for name in expected
        if name in got and expected[name].shape != got[name].shape
    ]
    return lines


def count_batches(network: nn.Module) -> None:
    """Let loaded batch normalisation whose statistics were trained, but count no batches, have seen `SEEN` of them."""
    norms: list[Any] = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    for norm in norms:
        if norm.running_mean is None or norm.num_batches_tracked:
            continue
        if norm.running_mean.any() or not torch.equal(norm.running_var, torch.ones_like(norm.running_var)):
            norm.num_batches_tracked.fill_(SEEN)


def copied(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return a copy of a network's weights, contiguous, each name after ``prefix``."""
    return {prefix + name: tensor.detach().contiguous().clone() for name, tensor in network.state_dict().items()}


def make_convolutions_safe(network: nn.Module) -> None:
    """Replace padded convolutions by those of `avssl.encoders.conv`, which bfloat16 training on a CPU needs.

    They keep weights, names and result.
    """
    for name, layer in list(network.named_modules()):
        if getattr(type(layer), "forward", None) not in (nn.Conv2d.forward, nn.Conv3d.forward):
            continue
        if layer.groups > 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            continue
        if any(layer.padding):
            kind: Any = Conv2d if isinstance(layer, nn.Conv2d) else Conv3d
            shape = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            with torch.device("meta"):
                safe = kind(*shape, dilation=layer.dilation, bias=layer.bias is not None)
            safe.weight, safe.bias = layer.weight, layer.bias
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, safe)


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of a size that is one number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width
