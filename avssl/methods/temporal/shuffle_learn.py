"""Shuffle & Learn.

I. Misra, C. L. Zitnick, M. Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification.
ECCV 2016. https://arxiv.org/abs/1603.08561
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import TupleFrames
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.heads import fully_connected
from avssl.methods.temporal.common import frame_vectors

TUPLES = ((1, 2, 3), (1, 0, 3), (1, 4, 3))  # b c d, b a d, b e d of five frames a < b < c < d < e


class ShuffleLearn(Method):
    """Verify whether the middle one of three frames lies between the outer two in time.

    A siamese network encodes the frames; the features of three are concatenated in the order shown, and a classifier
    separates tuples in and out of order (section 3, figure 2). Of five frames a < b < c < d < e, from a window with
    much motion (section 3.2), (b, c, d) is in order and has a quarter of the weight (the paper's 25 : 75), (b, a, d)
    and (b, e, d) are not; all are shown forwards and backwards. The target is read off the timestamps.

    Metrics: ``accuracy`` at that ratio, chance being the share of the larger class, tuples out of order; and
    ``balanced_accuracy`` with both classes weighted equally (and the threshold shifted accordingly), chance 0.5.

    The paper's network is CaffeNet up to fc7, and a linear layer over three fc7 vectors. Here it is any frame encoder,
    one fully connected layer over its maps for fc6 and fc7, and one hidden layer over the three frames.

    Args:
        share: weight of tuples in order (the paper: 0.25).
        hidden: width of the fully connected layers (CaffeNet: 4096).
        grid: height and width to which the maps are pooled before the first of them (CaffeNet: 6).
    """

    tuples: Tensor
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: TupleFrames | None = None,
        share: float = 0.25,
        hidden: int = 512,
        grid: int = 4,
    ) -> None:
        super().__init__(encoder, sampler or TupleFrames())
        self.share = share
        both_ways = torch.tensor([*TUPLES, *(shown[::-1] for shown in TUPLES)])  # [6, 3]
        self.register_buffer("tuples", both_ways, persistent=False)
        self.frame = fully_connected(encoder.num_features, hidden, grid)
        self.order = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over 6 B·N tuples."""
        frames = frame_vectors(self.encoder, self.frame, clips.video.flatten(0, 1))  # [B N, 5, hidden]
        score = self.order(frames[:, self.tuples].flatten(2)).squeeze(2).float()  # [B N, 6]
        target = in_order(clips.times[:, :, self.tuples]).flatten(0, 1)  # [B N, 6]
        loss = F.binary_cross_entropy_with_logits(score, target.float(), reduction="none")
        odds = math.log(self.share / (1 - self.share))
        weight = shares(target, self.share)
        return measured(
            clips,
            (loss * weight).sum(1).mean(),
            accuracy=((((score > 0) == target) * weight).sum(1), max(self.share, 1 - self.share)),
            balanced_accuracy=((((score > odds) == target) * shares(target, 0.5)).sum(1), 0.5),
        )

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the tuples of the five frames that are in order and out of order."""
        target = in_order(clips.times[:, :, self.tuples[: len(TUPLES)]])  # [B, N, 3]
        names = ["-".join(str(place + 1) for place in shown) for shown in TUPLES]

        def words(clip: list[bool]) -> str:
            yes, no = ([name for name, right in zip(names, clip, strict=True) if right == wanted] for wanted in (1, 0))
            return f"in order: {', '.join(yes)}; not: {', '.join(no)}"

        return [[words(clip) for clip in video] for video in target.tolist()]


def shares(target: Tensor, share: float) -> Tensor:
    """Return weights ``[M, K]`` that sum to 1 per row, ``share`` of it on the True entries of ``target``."""
    yes = target.sum(1, keepdim=True)
    return torch.where(target, share / yes, (1 - share) / (target.shape[1] - yes))


def in_order(times: Tensor) -> Tensor:
    """Return whether the middle frame lies between the outer two: ``[..., 3]`` seconds to ``[...]`` bool."""
    steps = times.diff(dim=-1)  # [..., 2]
    return (steps > 0).all(-1) | (steps < 0).all(-1)
