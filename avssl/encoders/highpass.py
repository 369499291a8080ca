"""Frame encoder that sees the finest detail of a frame beside the frame itself, for traces of cameras."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.conv import Conv2d
from avssl.encoders.scaled import FULL_WIDTH
from avssl.encoders.video import ResNet
from avssl.pixels import MEAN, STD, denormalise

GAIN, LIMIT = 20.0, 3.0  # of the high-pass copy: it is multiplied, then clipped, so that edges do not outweigh noise


class HighPassResNet(ResNet):
    """`ResNet` over frames and their high-pass copy, six channels, whose first convolution keeps the resolution.

    The copy is each pixel minus the binomial mean of the 3 x 3 around it. Noise, interpolation, sharpening and
    compression are found there, several times weaker than the picture itself. Maps are twice as large as those of
    `ResNet`: 1/2, 1/4, 1/8 and 1/16 of a frame's height and width.

    Args:
        depth: 18 or 50.
        width: channels of the first layer, a multiple of 8. D is 8 x width, or 32 x width at depth 50.
    """

    def __init__(self, depth: int = 18, width: int = FULL_WIDTH) -> None:
        super().__init__(depth, width)
        self.net.conv1 = Conv2d(6, width, 5, padding=2, bias=False)
        nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        self.check_clips(clips)
        with torch.autocast(clips.device.type, enabled=False):
            frames = rearrange(clips.float(), "b t c h w -> (b t) c h w")
            rgb = denormalise(frames, self.card.get("mean", MEAN), self.card.get("std", STD))
            both = torch.cat([frames, high_pass(rgb)], 1).contiguous(memory_format=torch.channels_last)
        net = self.net
        x = net.relu(net.maxpool(net.bn1(net.conv1(both))))
        found = []
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = stage(x)
            found.append(x)
        return found


def high_pass(rgb: Tensor) -> Tensor:
    """Return the finest detail of ``[M, C, H, W]`` pictures in [0, 1], amplified and clipped, of the same shape."""
    padded = F.pad(rgb, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    mean = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return (GAIN * (rgb - mean)).clamp(-LIMIT, LIMIT)
