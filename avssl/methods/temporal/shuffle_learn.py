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
from avssl.data.samplers import OrderedTuples
from avssl.encoders import Encoder
from avssl.methods.base import Method, a_video
from avssl.methods.heads import fully_connected


class ShuffleLearn(Method):
    """Is the middle frame of three shown between the outer two in time?

    A siamese network sees the three frames one by one; its features are concatenated in the order shown, and a
    classifier tells tuples in order from tuples out of order (section 3, figure 2). Tuples come from windows in which
    much moves, one in four in order (section 3.2); the target is read off the timestamps.

    Metrics: ``accuracy``, chance being the share of tuples out of order, the larger class; and ``balanced_accuracy``,
    what it would be if half the tuples were in order (each tuple weighted by how rare its class is, and the threshold
    moved accordingly), chance 0.5.

    The paper's network is CaffeNet up to fc7, and a linear layer over the three concatenated fc7 vectors. Here the
    convolutional part is any frame encoder; one fully connected layer over its maps, which keep *where* things are,
    stands in for fc6 and fc7 and is thrown away with the head; and one hidden layer compares the three frames.

    Args:
        encoder: frame encoder.
        sampler: draws the tuples.
        hidden: width of the fully connected layers (CaffeNet: 4096).
        grid: height and width to which the maps are pooled before the first of them (CaffeNet: 6).
    """

    sampler: OrderedTuples

    def __init__(
        self, encoder: Encoder, sampler: OrderedTuples | None = None, hidden: int = 512, grid: int = 4
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or OrderedTuples()
        self.frame = fully_connected(encoder.num_features, hidden, grid)
        self.order = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B·N tuples."""
        maps = self.encoder.maps(clips.video.flatten(0, 1))  # [B N, D, 3, H', W']
        if maps.shape[2] != clips.video.shape[2]:
            raise ValueError(f"ShuffleLearn needs a frame encoder; {type(self.encoder).__name__} mixes frames in time")
        frames = self.frame(maps.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, 3))  # [B N, 3, hidden]
        score = self.order(frames.flatten(1)).squeeze(1).float()  # [B N]
        target = in_order(clips.times).flatten().float()  # [B N]
        share = self.sampler.in_order
        weight = torch.where(target.bool(), 0.5 / share, 0.5 / (1 - share))  # 1 on average
        correct = (score > 0) == target.bool()
        correct_if_balanced = (score > math.log(share / (1 - share))) == target.bool()
        return {
            "loss": F.binary_cross_entropy_with_logits(score, target),
            "accuracy": a_video(correct.float(), clips),
            "chance/accuracy": a_video(1 - target, clips),
            "balanced_accuracy": a_video(correct_if_balanced * weight, clips),
            "chance/balanced_accuracy": a_video(0.5 * weight, clips),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """In order or out of order."""
        return [["in order" if yes else "out of order" for yes in row] for row in in_order(clips.times).tolist()]


def in_order(times: Tensor) -> Tensor:
    """``[..., 3]`` seconds to ``[...]`` bool: does the middle frame lie between the outer two?"""
    steps = times.diff(dim=-1)  # [..., 2]
    return (steps > 0).all(-1) | (steps < 0).all(-1)
