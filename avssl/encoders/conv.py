"""Convolutions that are safe for bfloat16 training on a CPU.

If a kernel extends beyond both ends of its input at once, torch 2.14 may compute its bfloat16 weight gradient on a CPU
from uninitialised memory, sooner or later NaN (the result and the input's gradient are right). Examples: a kernel 3
deep over 2 frames, in R3D's last stages with 16 frames of video; a kernel 3 wide with stride 2 over a single pixel, in
a ResNet with a small patch.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """torch's Conv2d; if the input is a single pixel high or wide, only the middle of the kernel is applied."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, D, H', W']``."""
        if min(input.shape[2:]) > 1:
            return super().forward(input)
        weight, padding = used_kernel(self, input)
        return F.conv2d(input, weight, self.bias, self.stride, padding)


class Conv3d(nn.Conv3d):
    """torch's Conv3d; if the input is a single frame long or pixel wide, only the middle of the kernel is applied.

    A longer clip that is shorter than the kernel is padded with zero frames before the convolution, not within it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        if min(input.shape[2:]) > 1 and input.shape[2] >= self.kernel_size[0]:
            return super().forward(input)
        weight, padding = used_kernel(self, input)
        if input.shape[2] < weight.shape[2]:
            input = F.pad(input, (0, 0, 0, 0, padding[0], padding[0]))
            padding[0] = 0
        return F.conv3d(input, weight, self.bias, self.stride, padding)


def used_kernel(conv: nn.Conv2d | nn.Conv3d, input: Tensor) -> tuple[Tensor, list[int]]:
    """Return the part of a kernel that sees more than padding along axes where the input has size 1, and the padding.

    Only for kernels of odd size that are padded by half of it.
    """
    assert not isinstance(conv.padding, str)
    weight, padding = conv.weight, list(conv.padding)
    for axis, (size, pad) in enumerate(zip(input.shape[2:], padding, strict=True)):
        if size == 1 and weight.shape[2 + axis] == 2 * pad + 1:
            weight, padding[axis] = weight.narrow(2 + axis, pad, 1), 0
    return weight, padding
