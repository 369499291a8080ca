"""A camera from the light to the file: what is done to a picture on the way, by known settings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.runtime.checks import check_ranges
from avssl.synthetic.camera_jpeg import Jpeg
from avssl.synthetic.camera_mosaic import demosaic, kernels, mosaic

GAMMA = 2.2
SHOT = 0.1  # noise of light: its variance is this times the read noise's standard deviation times the light
ATTRIBUTES = ("white", "noise", "demosaic", "sharpness", "scale", "jpeg")
NEUTRAL = (0.0, 0.0, 0.0, 0.0, 1.0, 100.0)  # values that change nothing


class CameraPipeline(nn.Module):
    """Film pictures by cameras of different settings.

    In the order of a camera: white balance, noise of the sensor, a Bayer mosaic and its interpolation, all in linear
    light; then gamma, blur or sharpening, enlargement and JPEG. It works on whole batches, on any device, and without
    a wait for it; every picture has its own settings.

    A setting is a row of numbers, in the order of `ATTRIBUTES`; `draw` takes each from its levels.

    Args:
        white: octaves between the gains of red and blue.
        noise: standard deviations of the read noise, as a fraction of the brightest light.
        demosaic: 0 is a sensor with all colours at each pixel, 1 bilinear interpolation, 2 a gradient-corrected one.
        sharpness: amounts of unsharp masking; negative ones blur.
        scale: enlargements of the picture about its middle, bilinear; from 1 up.
        jpeg: qualities, from 1 to 100; at 100 the picture is not coded.
        strength: how much of all of it is done; at 0, settings are drawn but change nothing.

    Raises:
        ValueError: if a value is out of range, or an attribute has fewer than two levels.
    """

    jpeg: Jpeg
    weights: Tensor
    levels: Tensor
    counts: Tensor
    neutral: Tensor

    def __init__(
        self,
        white: Sequence[float] = (-0.7, 0.0, 0.7),
        noise: Sequence[float] = (0.0, 0.01, 0.03),
        demosaic: Sequence[float] = (0, 1, 2),
        sharpness: Sequence[float] = (-0.8, 0.0, 1.5),
        scale: Sequence[float] = (1.0, 1.3, 1.7),
        jpeg: Sequence[float] = (100, 80, 45),
        strength: float = 1.0,
    ) -> None:
        super().__init__()
        given = dict(zip(ATTRIBUTES, (white, noise, demosaic, sharpness, scale, jpeg), strict=True))
        ranges = {"noise": "[0, 1)", "demosaic": "[0, 2]", "sharpness": "[-1, 10]", "scale": "[1, 4]"}
        check_ranges(
            "CameraPipeline",
            {**given, "strength": strength},
            **ranges,
            white="[-4, 4]",
            jpeg="[1, 100]",
            strength="[0, 1]",
        )
        for name, values in given.items():
            if len(set(values)) < 2:
                raise ValueError(f"CameraPipeline.{name} is {list(values)}: expected at least two different levels")
        self.strength = strength
        most = max(map(len, given.values()))
        rows = [[*map(float, values), *[float(values[0])] * (most - len(values))] for values in given.values()]
        self.register_buffer("levels", torch.tensor(rows), persistent=False)  # [A, most]
        self.register_buffer("counts", torch.tensor([len(values) for values in given.values()]), persistent=False)
        self.register_buffer("neutral", torch.tensor(NEUTRAL), persistent=False)
        self.register_buffer("weights", kernels(), persistent=False)
        self.jpeg = Jpeg()

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw the settings of cameras, each attribute by itself: ``[count, A]`` float32."""
        share = torch.rand(count, len(ATTRIBUTES), device=self.levels.device, generator=generator)
        level = (share * self.counts).long().minimum(self.counts - 1)  # [count, A]
        return self.levels.gather(1, level.T).T

    @torch.no_grad()
    def forward(self, rgb: Tensor, settings: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Film pictures.

        Args:
            rgb: ``[M, 3, H, W]`` in [0, 1], at least 3 pixels high and wide.
            settings: ``[M, A]``, what `draw` returns or values between.
            generator: of the noise.

        Returns:
            ``[M, 3, H, W]`` float32 in [0, 1], rounded to 8 bits.
        """
        settings = self.neutral + self.strength * (settings - self.neutral)
        white, noise, _, sharpness, scale, quality = settings[:, :, None, None, None].unbind(1)  # [M, 1, 1, 1] each
        linear = rgb.float().clamp(0, 1) ** GAMMA
        gains = torch.cat([2 ** (white / 2), torch.ones_like(white), 2 ** (-white / 2)], 1)
        linear = linear * gains
        spread = (noise**2 + SHOT * noise * linear).sqrt()
        drawn = torch.randn(linear.shape, device=linear.device, generator=generator)
        linear = (linear + spread * drawn).clamp(0, 1)
        kind = settings[:, 2, None, None, None] / max(self.strength, 1e-6)
        plain, corrected = demosaic(mosaic(linear), self.weights)
        seen = torch.where(kind >= 1.5, corrected, plain)
        linear = torch.where(kind >= 0.5, linear + self.strength * (seen - linear), linear)
        shown = linear.clamp(0, 1) ** (1 / GAMMA)
        shown = (shown + sharpness * (shown - blurred(shown))).clamp(0, 1)
        shown = torch.where(scale > 1, enlarged(shown, scale[:, 0, 0, 0]), shown)
        shown = (255 * shown).round() / 255
        return torch.where(quality < 100, self.jpeg(shown, quality[:, 0, 0, 0]), shown)


def blurred(pictures: Tensor) -> Tensor:
    """Blur pictures ``[M, C, H, W]`` by 1, 4, 6, 4, 1 in both directions (a Gaussian of one pixel)."""
    padded = F.pad(pictures, (2, 2, 2, 2), mode="reflect")
    rows = sum(
        weight * padded[..., first : first + pictures.shape[-2], :]
        for first, weight in enumerate((0.0625, 0.25, 0.375, 0.25, 0.0625))
    )
    assert isinstance(rows, Tensor)
    both = sum(
        weight * rows[..., first : first + pictures.shape[-1]]
        for first, weight in enumerate((0.0625, 0.25, 0.375, 0.25, 0.0625))
    )
    assert isinstance(both, Tensor)
    return both


def enlarged(pictures: Tensor, scale: Tensor) -> Tensor:
    """Enlarge pictures ``[M, C, H, W]`` about their middle by ``[M]`` factors, bilinear; the size stays."""
    still = torch.zeros_like(scale)
    rows = [torch.stack([1 / scale, still, still], 1), torch.stack([still, 1 / scale, still], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def settings_of(row: Tensor) -> dict[str, float]:
    """Return one camera's settings ``[A]`` by attribute, for people and side files."""
    return dict(zip(ATTRIBUTES, (round(value, 4) for value in row.tolist()), strict=True))
