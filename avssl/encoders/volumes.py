"""Fully connected networks over small volumes of grey pixels, as before convolutional networks for video."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import Encoder
from avssl.pixels import LUMA, constants

SIDE, FRAMES = 16, 4  # of a volume
NUMBERS = SIDE**2 * FRAMES
Activation = Literal["sigmoid", "relu"]


class VolumeStack(Encoder):
    """Layers over volumes of 16 x 16 pixels and 4 frames, side by side; T' = T / 4, H' = H / 16, W' = W / 16.

    Colours are dropped. Layers halve in width from ``2 ** (depth - 1) * width`` to ``width``; the last one is linear, a
    code, as in Hinton & Salakhutdinov (Science 2006).

    Args:
        width: D, numbers in the code of a volume.
        depth: number of layers.
        activation: of all layers but the last.
    """

    min_clip = (FRAMES, SIDE, SIDE)

    def __init__(self, width: int = 32, depth: int = 4, activation: Activation = "sigmoid") -> None:
        super().__init__(width, {"width": width, "depth": depth, "activation": activation})
        widths = [NUMBERS, *(width * 2 ** (depth - 1 - layer) for layer in range(depth))]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            if activation == "relu":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=0.01)  # Hinton: A Practical Guide to Training RBMs, 2010, section 8
            nn.init.zeros_(layer.bias)
        self.activation = activation

    def volumes(self, clips: Tensor) -> Tensor:
        """Cut clips ``[B, T, 3, H, W]`` into volumes ``[B, T', H', W', 1024]``; the rest at the end is left out."""
        self.check_clips(clips)
        grey = (clips.float() * constants(LUMA, clips.float()).view(3, 1, 1)).sum(2)  # [B, T, H, W]
        t, h, w = (size // side for size, side in zip(grey.shape[1:], (FRAMES, SIDE, SIDE), strict=True))
        cut = grey[:, : t * FRAMES, : h * SIDE, : w * SIDE]
        return rearrange(cut, "b (t i) (h j) (w k) -> b t h w (i j k)", i=FRAMES, j=SIDE, k=SIDE)

    def passed(self, values: Tensor, layer: int) -> Tensor:
        """Return the output of a layer for what comes into it."""
        found: Tensor = self.layers[layer](values)
        if layer == len(self.layers) - 1:
            return found
        return found.sigmoid() if self.activation == "sigmoid" else found.relu()

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        values = self.volumes(clips)
        for layer in range(len(self.layers)):
            values = self.passed(values, layer)
        return rearrange(values, "b t h w d -> b d t h w")
