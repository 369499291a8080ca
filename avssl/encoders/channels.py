"""Frame encoders that see only some channels of a frame, for colourisation."""

from __future__ import annotations

import torch
from torch import Tensor

from avssl.encoders.base import FrameEncoder
from avssl.encoders.video import FULL_WIDTH, ResNet
from avssl.pixels import MEAN, STD, denormalise, normalise_rgb, rgb_to_lab

SPREAD = 25.0  # L, a and b are divided by this


class GreyResNet(ResNet):
    """`ResNet` over the mean of the three channels, so that a network trained on grey frames sees nothing else.

    Args:
        depth: 18 or 50.
        width: channels of the first layer, a multiple of 8. D is 8 x width, or 32 x width at depth 50.
    """

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        self.check_clips(clips)
        mean, std = self.card.get("mean", MEAN), self.card.get("std", STD)
        return super().stages(normalise_rgb(denormalise(clips, mean, std).mean(-3, keepdim=True), mean, std))


class SplitResNet(FrameEncoder):
    """Two `ResNet` that share nothing: one sees the lightness of each frame, the other its colour.

    The features of both are concatenated at every stage (split-brain autoencoders: Zhang et al., CVPR 2017, section
    3.2). Channels are those of Lab: lightness in all three inputs of its half, a and b in two of the other's.

    Args:
        depth: 18 or 50.
        width: channels of the first layer of each half, a multiple of 8. D is 16 x width, or 64 x width at depth 50.
    """

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH // 2) -> None:
        light, colour = ResNet(depth, width), ResNet(depth, width)
        super().__init__(2 * light.num_features, {"depth": depth, "width": width})
        self.light, self.colour = light, colour

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the maps that `stages` returns."""
        return tuple(2 * channels for channels in self.light.stage_channels)

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        return [torch.cat(pair, 1) for pair in zip(*self.halves(clips), strict=True)]

    def halves(self, clips: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the `stages` of the half that sees lightness, and those of the half that sees colour."""
        self.check_clips(clips)
        rgb = denormalise(clips, self.card.get("mean", MEAN), self.card.get("std", STD))
        lab = rgb_to_lab(rgb) / SPREAD
        light = (lab[:, :, :1] - 50 / SPREAD).expand_as(lab)
        colour = torch.cat([lab[:, :, 1:], torch.zeros_like(lab[:, :, :1])], 2)
        return self.light.stages(light), self.colour.stages(colour)
