"""Networks over panoramas, whose left and right edges meet."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def circular_width(network: nn.Module) -> None:
    """Let the convolutions and poolings of a network pad the width by what is on its other side, in place.

    Parameters stay what they are, and an export is an ordinary network, which pads with zeros.
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.MaxPool2d | nn.MaxPool3d):
            layer: Any = part
            axes = 3 if isinstance(part, nn.Conv3d | nn.MaxPool3d) else 2
            padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
            if padding[-1]:
                layer.padding = (*padding[:-1], 0)
                part.register_forward_pre_hook(_Wrapped(int(padding[-1])))


class _Wrapped:
    """Pad the width of a layer's input by ``columns`` of its other side."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Tensor]:
        maps: Tensor = given[0]
        return (F.pad(maps, (self.columns, self.columns, *[0] * (2 * maps.ndim - 6)), mode="circular"),)
