"""Plain convolutional networks of a transfer study, much smaller than those for ImageNet.

M. Raghu, C. Zhang, J. Kleinberg, S. Bengio: Transfusion: Understanding Transfer Learning for Medical Imaging. NeurIPS
2019 (section 3, appendix A). https://arxiv.org/abs/1902.07208
"""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.encoders.base import FrameEncoder
from avssl.encoders.conv import Conv2d

SIZES = {  # kernel, channels of the first layer, layers
    "large_tall": (7, 32, 5),
    "large_wide": (7, 64, 4),
    "small": (7, 32, 4),
    "tiny": (5, 32, 4),
}


class CBR(FrameEncoder):
    """Layers of convolution, batch normalisation, ReLU and max pooling by two, each twice as wide as the one before.

    Args:
        size: ``large_tall`` has five layers, 32 to 512 channels, 7 x 7; ``large_wide`` four of 64 to 512; ``small``
            four of 32 to 256; ``tiny`` the same with 5 x 5.
        width: channels of the first layer; None is the paper's.
    """

    def __init__(
        self, size: Literal["large_tall", "large_wide", "small", "tiny"] = "small", width: int | None = None
    ) -> None:
        if size not in SIZES:
            raise ValueError(f"CBR: size must be one of {sorted(SIZES)}, got {size!r}")
        kernel, first, layers = SIZES[size]
        first = width or first
        super().__init__(first * 2 ** (layers - 1), {"size": size, "width": width})
        self.layers = nn.ModuleList()
        before = 3
        for layer in range(layers):
            channels = first * 2**layer
            convolution = Conv2d(before, channels, kernel, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            pool = nn.MaxPool2d(3, stride=2, padding=1)
            self.layers.append(nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU(), pool))
            before = channels
        self.to(memory_format=torch.channels_last)

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps that `stages` returns."""
        top = self.num_features
        return top // 8, top // 4, top // 2, top

    def stages(self, clips: Tensor) -> list[Tensor]:
        """Return the maps of the last four layers, ``[B*T, C, h, w]``; each halves height and width."""
        self.check_clips(clips)
        x = rearrange(clips, "b t c h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found[-4:]
