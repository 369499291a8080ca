"""RandAugment: a few operations of random strength, drawn once per clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as V

from avssl.data.changes import Change, sent
from avssl.runtime.checks import check_ranges

HIGHEST = 10.0  # magnitude


def sharpened(frames: Tensor, factor: float) -> Tensor:
    """Blend ``[T, 3, H, W]`` uint8 with its blur (0) or away from it (above 1), as torchvision's ``adjust_sharpness``.

    torchvision's makes its kernel on the device, which waits for it.
    """
    pixels = frames.float()
    inner = pixels[..., 1:-1, 1:-1]
    blurred = ((9 * F.avg_pool2d(pixels, 3, 1) + 4 * inner) / 13).round_()
    inner.add_(blurred.sub_(inner), alpha=1 - factor)
    return pixels.clamp_(0, 255).to(torch.uint8)


def moved(frames: Tensor, matrix: tuple[tuple[float, float, float], tuple[float, float, float]], fill: int) -> Tensor:
    """Take each pixel of ``[T, 3, H, W]`` uint8 from elsewhere, bilinearly; ``fill`` is what lies outside.

    The 2 x 3 matrix maps where a pixel is shown, in pixels from the middle, to where it is taken from: x, then y. It is
    torchvision's ``affine`` without its wait for the device.
    """
    height, width = frames.shape[-2:]
    (a, b, x), (c, d, y) = matrix
    own = torch.tensor([[a, b * height / width, 2 * x / width], [c * width / height, d, 2 * y / height]])
    grid = F.affine_grid(sent(own, frames.device)[None], [1, 1, height, width], align_corners=False)  # [1, H, W, 2]
    shifted = frames.float().flatten(0, 1)[None] - fill  # [1, 3 T, H, W]: outside is 0
    return (F.grid_sample(shifted, grid, align_corners=False) + fill).round_().to(torch.uint8)[0].view_as(frames)


def rotated(frames: Tensor, degrees: float, fill: int) -> Tensor:
    """Rotate about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return moved(frames, ((cos, sin, 0.0), (-sin, cos, 0.0)), fill)


@dataclass(frozen=True)
class Operation:
    """An operation: ``make(frames, value, fill)``, and its value at magnitude 0 and at the highest.

    ``signed`` operations take the difference from the value at 0 with a random sign.
    """

    make: Callable[[Tensor, float, int], Tensor]
    low: float = 0.0
    high: float = 0.0
    signed: bool = False


def _solarise_add(frames: Tensor, value: float, fill: int) -> Tensor:
    return torch.where(frames < 128, (frames.int() + int(value)).clamp(max=255).to(torch.uint8), frames)


OPERATIONS = {
    "AutoContrast": Operation(lambda frames, value, fill: V.autocontrast(frames)),
    "Equalize": Operation(lambda frames, value, fill: V.equalize(frames)),
    "Invert": Operation(lambda frames, value, fill: V.invert(frames)),
    "Rotate": Operation(rotated, 0.0, 30.0, True),
    "Posterize": Operation(lambda frames, value, fill: V.posterize(frames, math.ceil(value)), 4.0, 0.0),
    "Solarize": Operation(lambda frames, value, fill: torch.where(frames < value, frames, 255 - frames), 256.0, 0.0),
    "SolarizeAdd": Operation(_solarise_add, 0.0, 110.0),
    "Color": Operation(lambda frames, value, fill: V.adjust_saturation(frames, value), 1.0, 1.9, True),
    "Contrast": Operation(lambda frames, value, fill: V.adjust_contrast(frames, value), 1.0, 1.9, True),
    "Brightness": Operation(lambda frames, value, fill: V.adjust_brightness(frames, value), 1.0, 1.9, True),
    "Sharpness": Operation(lambda frames, value, fill: sharpened(frames, value), 1.0, 1.9, True),
    "ShearX": Operation(lambda f, value, fill: moved(f, ((1.0, value, 0.0), (0.0, 1.0, 0.0)), fill), 0.0, 0.3, True),
    "ShearY": Operation(lambda f, value, fill: moved(f, ((1.0, 0.0, 0.0), (value, 1.0, 0.0)), fill), 0.0, 0.3, True),
    "TranslateX": Operation(
        lambda f, value, fill: moved(f, ((1.0, 0.0, value * f.shape[-1]), (0.0, 1.0, 0.0)), fill), 0.0, 0.45, True
    ),
    "TranslateY": Operation(
        lambda f, value, fill: moved(f, ((1.0, 0.0, 0.0), (0.0, 1.0, value * f.shape[-2])), fill), 0.0, 0.45, True
    ),
}


class RandAugment(Change):
    """A few operations drawn at random, one after the other (Cubuk et al., NeurIPS 2020).

    They are those of `OPERATIONS`, whose values run from no change at magnitude 0 to the strongest at 10. The defaults
    are those by which VideoMAE and V-JEPA fine-tune (``rand-m7-n4-mstd0.5-inc1`` in their code). An operation is the
    same in all frames of a clip, except that AutoContrast, Contrast and Equalize look at each frame.

    Args:
        num_ops: operations drawn for a clip.
        magnitude: mean of their magnitudes, from 0 to 10.
        std: standard deviation of their magnitudes.
        op_probability: probability with which an operation that was drawn is made.
        probability: probability of any change.
        fill: pixel value outside the frame.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        num_ops: int = 4,
        magnitude: float = 7.0,
        std: float = 0.5,
        op_probability: float = 0.5,
        probability: float = 1.0,
        fill: int = 114,
    ) -> None:
        super().__init__(probability)
        self.num_ops, self.magnitude, self.std, self.op_probability = num_ops, magnitude, std, op_probability
        self.fill = fill
        check_ranges(
            "RandAugment",
            self,
            num_ops="[1, inf)",
            magnitude=f"[0, {HIGHEST}]",
            std="[0, inf)",
            op_probability="[0, 1]",
            fill="[0, 255]",
        )

    def numbers(self, num_frames: int) -> int:
        """Return how many numbers are drawn: for each operation which, whether it is made, and its value."""
        return 3 * self.num_ops

    def parameters(self, num_frames: int) -> Tensor:
        """Draw ``[3 num_ops]``."""
        rows = []
        for _ in range(self.num_ops):
            number, made = int(torch.randint(len(OPERATIONS), ())), torch.rand(()) < self.op_probability
            share = (self.magnitude + self.std * float(torch.randn(()))) / HIGHEST
            sign = 1 - 2 * int(torch.randint(2, ()))
            kind = list(OPERATIONS.values())[number]
            change = min(max(share, 0.0), 1.0) * (kind.high - kind.low)
            rows.append([float(number), float(made), kind.low + (sign if kind.signed else 1) * change])
        return torch.tensor(rows).flatten()

    def make(self, clips: Tensor, drawn: Tensor) -> Tensor:
        """Change each of ``[M, T, 3, H, W]`` uint8 clips by its operations."""
        kinds, out = list(OPERATIONS.values()), []
        for clip, row in zip(clips, drawn.unflatten(1, (-1, 3)).tolist(), strict=True):
            for number, made, value in row:
                clip = kinds[int(number)].make(clip, value, self.fill) if made else clip
            out.append(clip)
        return torch.stack(out)
