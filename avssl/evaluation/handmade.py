"""Hand-made features of motion as an encoder without weights: what any learnt encoder has to beat.

It goes wherever an encoder goes (``--encoder=avssl.evaluation.MotionEnergy``), over clips as over whole videos:

    >>> import torch
    >>> from avssl.evaluation import MotionEnergy
    >>> clips = torch.randn(2, 9, 3, 32, 32)
    >>> MotionEnergy().maps(clips).shape, MotionEnergy()(clips).shape
    (torch.Size([2, 64, 8, 1, 1]), torch.Size([2, 64]))
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.encoders import Encoder
from avssl.encoders.motion import NOISE, change
from avssl.pixels import MEAN, STD
from avssl.runtime.checks import check_ranges

SIZE = 112  # pixels of the frames on its card


class MotionEnergy(Encoder):
    """Motion energy: the mean absolute difference of neighbouring grey frames in the squares of a grid, in decibels.

    The squares are channels, so that every read-out sees where something moves; each difference is a step of time.
    Maps are ``[B, D, T - 1, 1, 1]``, and D is ``grid ** 2``, row by row, or five times that with directions.

    Args:
        grid: squares along height and width.
        directions: add the energies of what moves right, left, down and up, see `avssl.encoders.motion.change`.
    """

    def __init__(self, grid: int = 8, directions: bool = False) -> None:
        check_ranges("MotionEnergy", {"grid": grid}, grid="[1, inf)")
        super().__init__(grid * grid * (5 if directions else 1), {"grid": grid, "directions": directions})
        self.grid, self.directions = grid, directions
        self.min_clip = (2, grid, grid)
        self.card = {"method": "hand-made motion energy", "mean": MEAN, "std": STD, "size": (SIZE, SIZE)}

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        seen = change(clips, self.directions, self.card["mean"], self.card["std"])  # [B, K, T - 1, H, W]
        found = F.adaptive_avg_pool2d(seen.flatten(0, 2)[:, None], self.grid)
        decibels = 10 * (found + NOISE).log10()
        return rearrange(decibels, "(b k t) 1 h w -> b (k h w) t 1 1", b=len(clips), k=seen.shape[1])
