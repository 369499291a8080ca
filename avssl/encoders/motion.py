"""A small network over directed motion energies, for collections too small to learn from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.base import Encoder
from avssl.encoders.conv import Conv3d
from avssl.pixels import MEAN, STD, denormalise
from avssl.runtime.checks import check_ranges

ENERGIES = 5  # all of the change, and what moves right, left, down and up
NOISE = 0.5  # grey levels added before the logarithm, as much as rounding alone makes
SQUARE = 4  # pixels


def change(clips: Tensor, directions: bool, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """Return how much changes from frame to frame, in grey levels: ``[B, T, 3, H, W]`` to ``[B, K, T - 1, H, W]``.

    The first of K is the size of the change. With directions there are four more, not negative: what motion to the
    right, left, down and up explains along the gradient of the picture, which is all of a motion that a small part of a
    picture shows ("normal flow": Horn & Schunck, 1981, section 2).

    Args:
        clips: float, normalised by ``mean`` and ``std``.
        directions: K is 5, otherwise 1.
        mean: channel means of the pixels, as on an encoder's card.
        std: channel standard deviations.
    """
    grey = 255 * denormalise(clips, mean, std).mean(2)
    steps = grey.diff(dim=1)
    found = [steps.abs()]
    if directions:
        padded = F.pad((grey[:, 1:] + grey[:, :-1]) / 2, (1, 1, 1, 1), mode="replicate")
        across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
        down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
        length = (across.square() + down.square()).sqrt().clamp(min=1e-6)
        for slope in (across, down):  # what moves with velocity v changes by -v times the gradient
            share = -steps * slope / length
            found += [share.clamp(min=0), (-share).clamp(min=0)]
    return torch.stack(found, 1)


class MotionNet(Encoder):
    """3D residual network over the logarithms of directed motion energies in squares of 4 x 4 pixels.

    It sees `change` with directions, which is known before anything is learnt, and none of colour and scene; a few
    hundred steps then teach it what a network over pixels needs thousands for. Its maps keep the energies beside what
    is learnt, so that nothing is lost that hand-made features have. T' is (T - 1) / 4, rounded up, at 1/16 of height
    and width: 17 frames of 64 x 64 pixels give 4 x 4 x 4. D is 8 x width, and 20 with ``keep``.

    Args:
        width: channels of the maps grow from 2 x to 8 x width.
        keep: add the energies, on a grid twice as fine whose 2 x 2 squares are channels, to the maps.
    """

    min_clip = (2, 16, 16)

    def __init__(self, width: int = 8, keep: bool = True) -> None:
        check_ranges("MotionNet", {"width": width}, width="[1, inf)")
        super().__init__(8 * width + (4 * ENERGIES if keep else 0), {"width": width, "keep": keep})
        channels = [2 * width, 4 * width, 8 * width]
        self.keep = keep
        self.norm = nn.BatchNorm3d(ENERGIES)
        self.stem = nn.Sequential(Conv3d(ENERGIES, channels[0], 3, padding=1, bias=False), nn.BatchNorm3d(channels[0]))
        self.first = _Block(channels[0], channels[0], stride=1, depth=1)
        self.rest = nn.Sequential(*(_Block(before, after, stride=2, depth=3) for before, after in pairwise(channels)))

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        with torch.no_grad():
            seen = change(clips, True, self.card.get("mean", MEAN), self.card.get("std", STD))
            energies = (F.avg_pool3d(seen, (1, SQUARE, SQUARE)) + NOISE).log10()
        energies = self.norm(energies)
        found = self.rest(self.first(F.relu(self.stem(energies))))
        if not self.keep:
            return found
        time, height, width = found.shape[2:]
        kept = F.adaptive_avg_pool3d(energies, (time, 2 * height, 2 * width))
        return torch.cat([found, rearrange(kept, "b k t (h y) (w x) -> b (k y x) t h w", y=2, x=2).to(found.dtype)], 1)


class _Block(nn.Module):
    """Residual block (He et al., CVPR 2016) of two convolutions, 3 x 3 in space and ``depth`` in time."""

    def __init__(self, channels: int, out: int, stride: int, depth: int) -> None:
        super().__init__()
        size, padding = (depth, 3, 3), (depth // 2, 1, 1)
        self.convolutions = nn.Sequential(
            Conv3d(channels, out, size, stride, padding, bias=False),
            nn.BatchNorm3d(out),
            nn.ReLU(),
            Conv3d(out, out, size, 1, padding, bias=False),
            nn.BatchNorm3d(out),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv3d(channels, out, 1, stride, bias=False), nn.BatchNorm3d(out))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``[B, C, T, H, W]`` to ``[B, D, T', H', W']``."""
        return F.relu(self.convolutions(maps) + self.shortcut(maps))
