"""Frame encoders that see some channels of a picture only: what a colourising network keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from avssl.encoders.base import Encoder
from avssl.encoders.video import FULL_WIDTH, ResNet
from avssl.pixels import denormalise, normalise_rgb, rgb_to_lab

SPREAD = 25.0  # units of L, a and b that become 1


class GreyResNet(ResNet):
    """`ResNet` over the mean of the three channels, so that a network trained on grey pictures is given no others.

    Args:
        depth: 18 or 50.
        width: channels of the first layer, a multiple of 8. D is 8 x width, at depth 50 32 x width.
    """

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        self.check_clips(clips)
        return super().stages(normalise_rgb(denormalise(clips).mean(-3, keepdim=True)))


class SplitResNet(Encoder):
    """Two `ResNet` that share nothing: one sees the lightness of each frame, the other its colour; D is twice theirs.

    The features are those of both, side by side, at every stage (split-brain autoencoders: Zhang et al., CVPR 2017,
    section 3.2). Channels are those of Lab, lightness in all three inputs of its half, a and b in two of the other's.

    Args:
        depth: 18 or 50.
        width: channels of the first layer of each half, a multiple of 8. D is 16 x width, at depth 50 64 x width.
    """

    per_frame = True

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH // 2) -> None:
        light, colour = ResNet(depth, width), ResNet(depth, width)
        super().__init__(2 * light.num_features, {"depth": depth, "width": width})
        self.light, self.colour = light, colour

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        last = self.stages(clips)[-1]  # [B*T, D, H', W']
        return last.unflatten(0, (len(clips), -1)).transpose(1, 2)  # [B, D, T, H', W']

    def forward(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self.frames(clips).mean(dim=1)

    def frames(self, clips: Tensor) -> Tensor:
        """``[B, T, 3, H, W]`` to one vector a frame, ``[B, T, D]`` float32."""
        return self.stages(clips)[-1].mean(dim=(2, 3), dtype=torch.float32).unflatten(0, (len(clips), -1))

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the maps that `stages` returns."""
        return tuple(2 * channels for channels in self.light.stage_channels)

    def stages(self, clips: Tensor) -> list[Tensor]:
        """The maps of all four stages, both halves side by side; see `ResNet.stages`."""
        return [torch.cat(pair, 1) for pair in zip(*self.halves(clips), strict=True)]

    def halves(self, clips: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The stages of the half that sees lightness, and of the half that sees colour.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            Twice four ``[B*T, C, h, w]``; see `ResNet.stages`.
        """
        self.check_clips(clips)
        lab = rgb_to_lab(denormalise(clips)) / SPREAD
        light = (lab[:, :, :1] - 50 / SPREAD).expand_as(lab)
        colour = torch.cat([lab[:, :, 1:], torch.zeros_like(lab[:, :, :1])], 2)
        return self.light.stages(light), self.colour.stages(colour)
