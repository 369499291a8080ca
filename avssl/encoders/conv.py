"""Convolutions that bfloat16 training on a CPU can trust.

Where a kernel reaches beyond both ends of its input at once, the weight gradient that torch 2.14 computes in bfloat16
on a CPU may be made of uninitialised memory, and sooner or later NaN (the result and the input's gradient are right): a
kernel 3 deep over 2 frames, which R3D's last stages see of 16 frames of video, or a kernel 3 wide with stride 2 over a
single pixel, which a ResNet sees of a small patch.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """torch's Conv2d; where the input is a single pixel high or wide, only the middle of the kernel is computed."""

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, D, H', W']``."""
        if min(input.shape[2:]) > 1:
            return super().forward(input)
        weight, padding = seen(self, input)
        return F.conv2d(input, weight, self.bias, self.stride, padding)


class Conv3d(nn.Conv3d):
    """torch's Conv3d; where the input is a single frame long or pixel wide, only the middle of the kernel is computed.

    A clip that is longer, but shorter than the kernel, gets its frames of zeros before the convolution instead of
    within it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        if min(input.shape[2:]) > 1 and input.shape[2] >= self.kernel_size[0]:
            return super().forward(input)
        weight, padding = seen(self, input)
        if input.shape[2] < weight.shape[2]:
            input = F.pad(input, (0, 0, 0, 0, padding[0], padding[0]))
            padding[0] = 0
        return F.conv3d(input, weight, self.bias, self.stride, padding)


def seen(conv: nn.Conv2d | nn.Conv3d, input: Tensor) -> tuple[Tensor, list[int]]:
    """The part of a kernel that meets anything but padding along axes on which the input has size 1, and the padding.

    Only for kernels of odd size that are padded by half of it.
    """
    assert not isinstance(conv.padding, str)
    weight, padding = conv.weight, list(conv.padding)
    for axis, (size, pad) in enumerate(zip(input.shape[2:], padding, strict=True)):
        if size == 1 and weight.shape[2 + axis] == 2 * pad + 1:
            weight, padding[axis] = weight.narrow(2 + axis, pad, 1), 0
    return weight, padding
