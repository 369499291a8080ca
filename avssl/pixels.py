"""Normalised pixels and colour spaces: channel statistics, luma, CIE Lab, hue and chroma."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MEAN = (0.43216, 0.394666, 0.37645)  # channel means of pixels in [0, 1]: Kinetics-400, as in torchvision
STD = (0.22803, 0.22145, 0.216989)
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)

_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Convert sRGB ``[..., 3, H, W]`` in [0, 1] to CIE L*a*b* under daylight (D65), float32.

    L runs from 0 to 100, a and b within about ±100.
    """
    rgb = rgb.float().clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(_rgb_to_xyz(rgb), linear)
    curved = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-8) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = curved.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Invert `rgb_to_lab`; colours outside sRGB are clipped."""
    light, a, b = lab.float().unbind(-3)
    y = (light + 16) / 116
    curved = torch.stack([y + a / 500, y, y - b / 200], dim=-3)
    xyz = torch.where(curved > 6 / 29, curved**3, (curved - 4 / 29) * 3 * (6 / 29) ** 2)
    linear = _mix(_rgb_to_xyz(lab).inverse(), xyz).clamp(0, 1)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055, 12.92 * linear)


def rgb_to_hue_chroma(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert RGB to hue, chroma and lightness on a bicone (Larsson et al., ECCV 2016, section 3.1).

    Chroma is the largest channel minus the smallest: unlike saturation, it is well defined in dark and bright colours.
    Lightness is the mean of the channels.

    Args:
        rgb: ``[..., 3, H, W]`` in [0, 1].

    Returns:
        Hue in [0, 1) (red 0, green 1/3, blue 2/3; 0 where there is no chroma), chroma and lightness in [0, 1], each
        ``[..., H, W]`` float32.
    """
    rgb = rgb.float().clamp(0, 1)
    red, green, blue = rgb.unbind(-3)
    highest, which = rgb.max(-3)
    chroma = highest - rgb.amin(-3)
    sixths = torch.stack([green - blue, blue - red, red - green], -3) / chroma.clamp(min=1e-6).unsqueeze(-3)
    hue = (sixths.gather(-3, which.unsqueeze(-3)).squeeze(-3) + 2 * which) / 6
    return hue % 1, chroma, rgb.mean(-3)


def hue_chroma_to_rgb(hue: Tensor, chroma: Tensor, light: Tensor) -> Tensor:
    """Invert `rgb_to_hue_chroma`: three ``[..., H, W]`` to ``[..., 3, H, W]``; colours outside RGB are clipped."""
    around = hue.unsqueeze(-3) * 6 - constants([0.0, 2.0, 4.0], hue).view(3, 1, 1)
    pure = (2 - ((around + 3) % 6 - 3).abs()).clamp(0, 1)  # [..., 3, H, W]: full chroma, smallest channel 0
    return (light.unsqueeze(-3) + chroma.unsqueeze(-3) * (pure - pure.mean(-3, keepdim=True))).clamp(0, 1)


def ab_bins(step: float = 10.0, levels: int = 128) -> Tensor:
    """Return the cells of a grid over a and b that contain an sRGB colour (Zhang et al., ECCV 2016, section 2.1).

    A line of constant a and b leaves the RGB cube through one of its faces, so searching the faces finds every cell.

    Args:
        step: width of a cell.
        levels: values per channel to search.

    Returns:
        ``[Q, 2]`` cell centres, multiples of ``step``, in order; Q is 262 for a step of 10 (the authors' list has 313).
    """
    ramp = torch.linspace(0, 1, levels)
    plane = torch.cartesian_prod(ramp, ramp)  # [levels^2, 2]
    faces = [
        torch.cat([plane[:, :axis], torch.full((len(plane), 1), end), plane[:, axis:]], 1)
        for axis in range(3)
        for end in (0.0, 1.0)
    ]
    ab = rgb_to_lab(torch.cat(faces).T[:, :, None])[1:, :, 0].T  # [6 levels^2, 2]
    return torch.unique((ab / step).round(), dim=0) * step


def _rgb_to_xyz(like: Tensor) -> Tensor:
    """Return the ``[3, 3]`` matrix from linear RGB to XYZ relative to the white point."""
    matrix = constants([weight for row in _TO_XYZ for weight in row], like).view(3, 3)
    return matrix / matrix.sum(1, keepdim=True)


def _mix(matrix: Tensor, channels: Tensor) -> Tensor:
    """Multiply ``[3, 3]`` by ``[..., 3, H, W]``, in float32 even under autocast."""
    with torch.autocast(channels.device.type, enabled=False):
        return torch.einsum("ij,...jhw->...ihw", matrix, channels)


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Scale uint8 pixels to [0, 1] and normalise each channel; the memory format is kept.

    Args:
        pixels: ``[..., 3, H, W]`` uint8.
        mean: ``[3]`` channel means of pixels in [0, 1].
        std: ``[3]`` channel standard deviations.

    Returns:
        ``[..., 3, H, W]`` float32.
    """
    scale, shift = 1 / (255 * std), mean / std
    last = pixels.movedim(-3, -1)
    if not last.is_contiguous():
        return torch.addcmul(-shift.view(3, 1, 1), pixels.float(), scale.view(3, 1, 1))
    width = pixels.shape[-1]  # whole rows: broadcasting over three values takes four times as long
    rows = torch.addcmul(-shift.repeat(width), last.flatten(-2).float(), scale.repeat(width))
    return rows.unflatten(-1, (width, 3)).movedim(-1, -3)


def denormalise(video: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """Convert pixels ``[..., 3, H, W]`` normalised by these statistics to RGB in [0, 1], float32."""
    return video.float() * constants(std, video).view(3, 1, 1) + constants(mean, video).view(3, 1, 1)


def normalise_rgb(rgb: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """Invert `denormalise`; a single channel is broadcast to all three."""
    return (rgb - constants(mean, rgb).view(3, 1, 1)) / constants(std, rgb).view(3, 1, 1)


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """Return a few numbers as a tensor of the type of ``like``, made on its device: copying them there would wait."""
    return torch.stack([like.new_full((), value) for value in values])
