"""Colours as people see them."""

from __future__ import annotations

import torch
from torch import Tensor

_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Colours of a screen (sRGB in [0, 1]) to CIE L*a*b* under daylight (D65).

    Args:
        rgb: ``[..., 3, H, W]``.

    Returns:
        ``[..., 3, H, W]`` float32: L from 0 to 100, a and b within about 100 either way.
    """
    rgb = rgb.float().clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = rgb.new_tensor(_TO_XYZ)
    xyz = torch.einsum("ij,...jhw->...ihw", matrix / matrix.sum(1, keepdim=True), linear)
    curved = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-8) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = curved.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`; colours that a screen can't show are cut off.

    Args:
        lab: ``[..., 3, H, W]``.

    Returns:
        ``[..., 3, H, W]`` sRGB in [0, 1].
    """
    light, a, b = lab.float().unbind(-3)
    y = (light + 16) / 116
    curved = torch.stack([y + a / 500, y, y - b / 200], dim=-3)
    xyz = torch.where(curved > 6 / 29, curved**3, (curved - 4 / 29) * 3 * (6 / 29) ** 2)
    matrix = lab.new_tensor(_TO_XYZ)
    linear = torch.einsum("ij,...jhw->...ihw", (matrix / matrix.sum(1, keepdim=True)).inverse(), xyz).clamp(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055, 12.92 * linear)
