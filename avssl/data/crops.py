"""Spatial crops of a clip: a box drawn on a frame's size, cut out and scaled to a square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torchvision.transforms import v2

from avssl.runtime.checks import check_ranges


class Box(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, frames: Tensor, size: int) -> Tensor:
        """Scale this part of ``[T, 3, h, w]`` frames to ``[T, 3, size, size]``, antialiased."""
        return v2.functional.resized_crop(frames, *self, [size, size])


class Crop(Protocol):
    """Draws boxes with torch's global random numbers."""

    def __call__(self, frames: Tensor) -> Box:
        """Draw a box on the frames of a clip, ``[T, 3, h, w]``."""
        ...


class RandomResizedCrop:
    """Box of a random area and aspect ratio (Szegedy et al., CVPR 2015, section 6), drawn by torchvision.

    Args:
        scale: smallest and largest fraction of the frame's area.
        ratio: smallest and largest aspect ratio (width over height).

    Raises:
        ValueError: if a value is out of range, or the smallest exceeds the largest.
    """

    def __init__(self, scale: tuple[float, float] = (0.4, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        check_ranges("transform", {"scale": scale, "ratio": ratio}, scale="(0, 1]", ratio="(0, inf)")
        for name, (low, high) in {"scale": scale, "ratio": ratio}.items():
            if low > high:
                raise ValueError(f"transform.{name} is {(low, high)}: expected the smaller number first")
        self.box = v2.RandomResizedCrop(1, scale=scale, ratio=ratio)

    def __call__(self, frames: Tensor) -> Box:
        """Draw a box on the frames of a clip, ``[T, 3, h, w]``."""
        return Box(**self.box.make_params([frames]))


class MultiScaleCrop:
    """Box of one of a few sizes at one of 13 places (Wang et al., ECCV 2016, section 3.3).

    Height and width are fractions of the frame's shorter side that are drawn together, at most one step of ``scales``
    apart. The places are the corners and the middle, the middles of the sides, and those halfway between the middle and
    the corners. VideoMAE crops so (Tong et al., NeurIPS 2022, appendix A).

    Args:
        scales: fractions of the shorter side, from the largest to the smallest.

    Raises:
        ValueError: if a fraction is out of range.
    """

    PLACES = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3))

    def __init__(self, scales: Sequence[float] = (1.0, 0.875, 0.75, 0.66)) -> None:
        check_ranges("transform", {"scales": scales}, scales="(0, 1]")
        if not scales:
            raise ValueError("transform.scales is empty: expected at least one fraction of the shorter side")
        self.sizes = [
            (high, wide)
            for row, high in enumerate(scales)
            for column, wide in enumerate(scales)
            if abs(row - column) <= 1
        ]

    def __call__(self, frames: Tensor) -> Box:
        """Draw a box on the frames of a clip, ``[T, 3, h, w]``."""
        height, width = frames.shape[-2:]
        high, wide = self.sizes[int(torch.randint(len(self.sizes), ()))]
        down, across = self.PLACES[int(torch.randint(len(self.PLACES), ()))]
        inside = round(high * min(height, width)), round(wide * min(height, width))
        return Box((height - inside[0]) * down // 4, (width - inside[1]) * across // 4, *inside)


class ShortSideCrop:
    """Square of a fixed size at a random place of a frame whose shorter side is scaled to a random length.

    Simonyan & Zisserman (ICLR 2015, section 3.1) call it scale jittering; SlowFast trains with lengths from 256 to 320
    and squares of 224 pixels.

    Args:
        size: height and width of the square, in pixels.
        sides: shortest and longest length of the shorter side, in pixels, at least ``size``.

    Raises:
        ValueError: if the shortest is below ``size``, or exceeds the longest.
    """

    def __init__(self, size: int, sides: tuple[int, int]) -> None:
        low, high = sides
        if not 0 < size <= low <= high:
            raise ValueError(f"transform.sides is {sides}: expected two lengths of at least {size}, the smaller first")
        self.size, self.low, self.high = size, low, high

    def __call__(self, frames: Tensor) -> Box:
        """Draw a box on the frames of a clip, ``[T, 3, h, w]``."""
        height, width = frames.shape[-2:]
        length = int(torch.randint(self.low, self.high + 1, ()))
        side = max(1, round(min(height, width) * self.size / length))
        top, left = (int(torch.randint(whole - side + 1, ())) for whole in (height, width))
        return Box(top, left, side, side)
