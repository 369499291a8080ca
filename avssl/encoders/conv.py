"""A 3D convolution that bfloat16 training on a CPU can trust."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Conv3d(nn.Conv3d):
    """torch's Conv3d, in float32 where torch's bfloat16 CPU kernel is wrong.

    Where a clip has fewer frames than the kernel is deep, the weight gradient that torch 2.14 computes in bfloat16 on
    a CPU is made of uninitialised memory (a kernel 3 deep over 2 frames gives NaN sooner or later; the result and the
    input's gradient are right). The last stage of R3D sees such clips: 2 frames of features from 16 frames of video.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        if input.shape[2] >= self.kernel_size[0] or input.device.type != "cpu":
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())
