"""What JPEG does to pixels, on any device: cosine transform of blocks, and rounding (ITU-T T.81, annexes A and K)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Steps of the quantiser at quality 50 (T.81, tables K.1 and K.2).
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class Jpeg(nn.Module):
    """Encode and decode pictures as a baseline JPEG with chroma of half the resolution would.

    Entropy coding loses nothing and is left out. Pictures of one batch may have different qualities.
    """

    steps: Tensor
    cosines: Tensor
    to_ycc: Tensor

    def __init__(self) -> None:
        super().__init__()
        number = torch.arange(8.0)
        cosines = torch.cos((2 * number + 1) * number[:, None] * math.pi / 16) / 2
        cosines[0] /= math.sqrt(2)
        self.register_buffer("cosines", cosines, persistent=False)  # [frequency, place]
        self.register_buffer("steps", torch.tensor([LUMA, CHROMA, CHROMA]).float(), persistent=False)
        self.register_buffer("to_ycc", torch.tensor(TO_YCC), persistent=False)

    def forward(self, rgb: Tensor, quality: Tensor) -> Tensor:
        """Map ``[M, 3, H, W]`` RGB in [0, 1] to the same, by ``[M]`` qualities from 1 to 100 (libjpeg's scale)."""
        with torch.autocast(rgb.device.type, enabled=False):
            return self._coded(rgb.float(), quality.float())

    def _coded(self, rgb: Tensor, quality: Tensor) -> Tensor:
        height, width = rgb.shape[-2:]
        padded = F.pad(rgb, (0, -width % 16, 0, -height % 16), mode="replicate")
        ycc = torch.einsum("ij,mjhw->mihw", self.to_ycc, (255 * padded).round()).round()  # bytes, as in libjpeg
        percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None, None]
        steps = ((self.steps * percent + 50) / 100).floor().clamp(1, 255)  # [M, 3, 8, 8]
        light = self._rounded(ycc[:, :1] - 128, steps[:, :1])
        colour = self._rounded(F.avg_pool2d(ycc[:, 1:], 2).round(), steps[:, 1:])
        colour = F.interpolate(colour, scale_factor=2.0, mode="bilinear")
        joined = torch.cat([light.round() + 128, colour.round()], 1)
        back = torch.einsum("ij,mjhw->mihw", torch.linalg.inv(self.to_ycc), joined)[..., :height, :width]
        return back.round().clamp(0, 255) / 255

    def _rounded(self, planes: Tensor, steps: Tensor) -> Tensor:
        """Round the cosine transform of blocks of ``[M, C, H, W]`` planes to multiples of ``[M, C, 8, 8]`` steps."""
        height, width = planes.shape[-2:]
        # As two products with block-diagonal matrices, which is many times as fast as block by block.
        down, across = (torch.block_diag(*[self.cosines] * (size // 8)) for size in (height, width))
        steps = steps.repeat(1, 1, height // 8, width // 8)
        waves = (down @ planes @ across.T / steps).round() * steps
        return down.T @ waves @ across
