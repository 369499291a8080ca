"""Hand-made features of motion as an encoder without weights: what any learnt encoder has to beat.

It goes wherever an encoder goes (``--encoder=avssl.evaluation.MotionEnergy``), over clips as over whole videos:

    >>> import torch
    >>> from avssl.evaluation import MotionEnergy
    >>> clips = torch.randn(2, 9, 3, 32, 32)
    >>> MotionEnergy().maps(clips).shape, MotionEnergy()(clips).shape
    (torch.Size([2, 64, 8, 1, 1]), torch.Size([2, 64]))
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.encoders import Encoder
from avssl.pixels import MEAN, STD, denormalise
from avssl.runtime.checks import check_ranges

NOISE = 0.5  # grey levels added before the logarithm, as much as rounding alone makes
SIZE = 112  # pixels of the frames on its card


class MotionEnergy(Encoder):
    """Motion energy: the mean absolute difference of neighbouring grey frames in the squares of a grid, in decibels.

    The squares are channels, so that every read-out sees where something moves; each difference is a step of time.
    Maps are ``[B, D, T - 1, 1, 1]``, and D is ``grid ** 2``, row by row, or five times that with directions.

    Args:
        grid: squares along height and width.
        directions: add the energy of what moves right, left, down and up, each along the gradient of the picture, which
            is all of a motion that a small square shows ("normal flow": Horn & Schunck, 1981, section 2).
    """

    def __init__(self, grid: int = 8, directions: bool = False) -> None:
        check_ranges("MotionEnergy", {"grid": grid}, grid="[1, inf)")
        super().__init__(grid * grid * (5 if directions else 1), {"grid": grid, "directions": directions})
        self.grid, self.directions = grid, directions
        self.min_clip = (2, grid, grid)
        self.card = {"method": "hand-made motion energy", "mean": MEAN, "std": STD, "size": (SIZE, SIZE)}

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        grey = 255 * denormalise(clips, self.card["mean"], self.card["std"]).mean(2)  # [B, T, H, W]
        change = grey.diff(dim=1)
        seen = change.abs()[:, None]
        if self.directions:
            seen = torch.cat([seen, *(part[:, None] for part in _along(change, (grey[:, 1:] + grey[:, :-1]) / 2))], 1)
        found = F.adaptive_avg_pool2d(seen.flatten(0, 2)[:, None], self.grid)
        decibels = 10 * (found + NOISE).log10()
        return rearrange(decibels, "(b k t) 1 h w -> b (k h w) t 1 1", b=len(clips), k=seen.shape[1])


def _along(change: Tensor, grey: Tensor) -> list[Tensor]:
    """Return the change that motion to the right, left, down and up explains, each ``[B, T, H, W]``, not negative.

    What moves with velocity v changes by -v times the gradient (brightness constancy); the share of each axis is that
    of the gradient.
    """
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    length = (across.square() + down.square()).sqrt().clamp(min=1e-6)
    shares = [-change * slope / length for slope in (across, down)]
    return [part for share in shares for part in (share.clamp(min=0), (-share).clamp(min=0))]
