"""Frame encoder that sees the finest detail of a frame beside the frame itself, for traces of cameras."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.base import FrameEncoder
from avssl.encoders.conv import Conv2d
from avssl.pixels import MEAN, STD, denormalise

GAIN, LIMIT = 20.0, 3.0  # of the high-pass copy: it is multiplied, then clipped, so that edges do not outweigh noise


class HighPassNet(FrameEncoder):
    """Six convolutions over frames and their high-pass copy, the first of which keeps the resolution.

    The copy is each pixel minus the binomial mean of the 3 x 3 around it. Noise, interpolation, sharpening and
    compression are found there, several times weaker than the picture itself. What they leave is the same all over a
    frame, so that a few layers, which see 29 pixels, are enough, and their mean over the frame says most.

    Args:
        width: channels of the first layer; D is 8 x width.
    """

    def __init__(self, width: int = 16) -> None:
        if width < 1:
            raise ValueError(f"HighPassNet.width is {width}: expected at least one channel")
        super().__init__(8 * width, {"width": width})
        self.layers = nn.ModuleList(
            [
                nn.Sequential(_layer(6, width, 1), _layer(width, width, 2)),
                _layer(width, 2 * width, 1),
                nn.Sequential(_layer(2 * width, 4 * width, 2), _layer(4 * width, 4 * width, 1)),
                _layer(4 * width, 8 * width, 2),
            ]
        )
        self.to(memory_format=torch.channels_last)

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps that `stages` returns."""
        width = self.num_features // 8
        return width, 2 * width, 4 * width, 8 * width

    def stages(self, clips: Tensor) -> list[Tensor]:
        """Return the maps of four stages, ``[B*T, C, h, w]``, at 1/2, 1/2, 1/4 and 1/8 of its height and width."""
        self.check_clips(clips)
        with torch.autocast(clips.device.type, enabled=False):
            frames = rearrange(clips.float(), "b t c h w -> (b t) c h w")
            rgb = denormalise(frames, self.card.get("mean", MEAN), self.card.get("std", STD))
            x = torch.cat([frames, high_pass(rgb)], 1).contiguous(memory_format=torch.channels_last)
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def _layer(before: int, after: int, stride: int) -> nn.Sequential:
    convolution = Conv2d(before, after, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def high_pass(rgb: Tensor) -> Tensor:
    """Return the finest detail of ``[M, C, H, W]`` pictures in [0, 1], amplified and clipped, of the same shape."""
    padded = F.pad(rgb, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    mean = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16
    return (GAIN * (rgb - mean)).clamp(-LIMIT, LIMIT)
