"""Colour filter array of a sensor: each pixel sees one colour, the other two are interpolated."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Rows = list[list[float]]

# Weights of the 5 x 5 pixels around one, for a colour that it has not seen: green where red or blue was seen; red
# (blue) at green ones with red (blue) to the left and right, then above and below; red (blue) where blue (red) was.
BILINEAR: tuple[Rows, ...] = (
    [[0, 0, 0, 0, 0], [0, 0, 2, 0, 0], [0, 2, 0, 2, 0], [0, 0, 2, 0, 0], [0, 0, 0, 0, 0]],
    [[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 4, 0, 4, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]],
    [[0, 0, 0, 0, 0], [0, 0, 4, 0, 0], [0, 0, 0, 0, 0], [0, 0, 4, 0, 0], [0, 0, 0, 0, 0]],
    [[0, 0, 0, 0, 0], [0, 2, 0, 2, 0], [0, 0, 0, 0, 0], [0, 2, 0, 2, 0], [0, 0, 0, 0, 0]],
)
CORRECTED: tuple[Rows, ...] = (  # H. Malvar, L. He, R. Cutler: ICASSP 2004, figure 2
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]],
    [[0, 0, -1, 0, 0], [0, -1, 4, -1, 0], [0.5, 0, 5, 0, 0.5], [0, -1, 4, -1, 0], [0, 0, -1, 0, 0]],
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]],
)


def kernels() -> Tensor:
    """Return the weights of both interpolations, bilinear and gradient-corrected: ``[8, 1, 5, 5]``."""
    return torch.tensor([*BILINEAR, *CORRECTED])[:, None] / 8


def mosaic(rgb: Tensor) -> Tensor:
    """Keep one colour of each pixel, in the order of Bayer (RGGB): ``[M, 3, H, W]`` to ``[M, 1, H, W]``."""
    red, blue = _sites(rgb)
    return torch.where(red, rgb[:, :1], torch.where(blue, rgb[:, 2:], rgb[:, 1:2]))


def demosaic(seen: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate the colours that each pixel has not seen.

    Args:
        seen: ``[M, 1, H, W]``, what `mosaic` returns.
        weights: what `kernels` returns, on the same device.

    Returns:
        ``[M, 3, H, W]`` by means of the neighbours of the same colour, and the same corrected by the gradient of the
        colour that was seen (Malvar et al.: High-quality linear interpolation for demosaicing of Bayer-patterned color
        images, ICASSP 2004).
    """
    with torch.autocast(seen.device.type, enabled=False):
        padded = F.pad(seen, (2, 2, 2, 2), mode="reflect")  # which keeps the order of colours
        around = F.conv2d(padded, weights)  # [M, 8, H, W]
    red, blue = _sites(seen)
    row = torch.arange(seen.shape[2], device=seen.device)[:, None] % 2 == 0  # those with red
    made = []
    for part in around.split(4, 1):
        green, beside, above, across = part.split(1, 1)
        reds = torch.where(red, seen, torch.where(blue, across, torch.where(row, beside, above)))
        greens = torch.where(red | blue, green, seen)
        blues = torch.where(blue, seen, torch.where(red, across, torch.where(row, above, beside)))
        made.append(torch.cat([reds, greens, blues], 1))
    return made[0], made[1]


def _sites(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return where red and where blue is seen, ``[H, W]``."""
    row = torch.arange(pictures.shape[2], device=pictures.device)[:, None] % 2
    column = torch.arange(pictures.shape[3], device=pictures.device)[None] % 2
    return (row == 0) & (column == 0), (row == 1) & (column == 1)
