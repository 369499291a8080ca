"""A 3D convolution that bfloat16 training on a CPU can trust."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Conv3d(nn.Conv3d):
    """torch's Conv3d, whose kernel never reaches beyond both ends of a short clip at once.

    Where a clip has fewer frames than the kernel is deep, the weight gradient that torch 2.14 computes in bfloat16 on
    a CPU is made of uninitialised memory (a kernel 3 deep over 2 frames gives NaN sooner or later; the result and the
    input's gradient are right). The last stages of R3D see such clips: 2 frames of features from 16 frames of video.
    Here such a clip gets its frames of zeros before the convolution instead of within it; and of a single frame, only
    the middle slice of the kernel sees anything else than zeros, so only that is computed.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        if input.shape[2] >= self.kernel_size[0]:
            return super().forward(input)
        assert not isinstance(self.padding, str)
        ahead, high, wide = self.padding
        weight = self.weight
        if input.shape[2] == 1 and self.kernel_size[0] == 2 * ahead + 1:
            weight = weight[:, :, ahead : ahead + 1]
        else:
            input = F.pad(input, (0, 0, 0, 0, ahead, ahead))
        return F.conv3d(input, weight, self.bias, self.stride, (0, high, wide))
