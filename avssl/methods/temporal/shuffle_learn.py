"""Shuffle & Learn.

I. Misra, C. L. Zitnick, M. Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification.
ECCV 2016. https://arxiv.org/abs/1603.08561
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import OrderedTuples
from avssl.encoders import ResNet
from avssl.methods.base import Method


class ShuffleLearn(Method):
    """Is the middle frame of three shown between the outer two in time?

    A siamese frame encoder sees the three frames one by one; its features are concatenated in the order shown and a
    linear classifier tells tuples in order from tuples out of order (section 3, figure 2). Tuples come from windows
    in which much moves, one in four in order (section 3.2); the target is read off the timestamps.

    Metric: ``accuracy``; chance is the share of tuples out of order, the larger class.

    The paper trains CaffeNet from its fc7 features with a softmax over two classes; here the encoder is free and the
    head reads its pooled features. ``hidden`` puts one hidden layer into the head, because a small convolutional
    encoder has no fully connected layers of its own to compare three frames with (CaffeNet: fc6 and fc7); 0 is the
    paper's linear head.

    Args:
        encoder: frame encoder; must offer ``frames`` (``[B, T, 3, H, W]`` to ``[B, T, D]``).
        sampler: draws the tuples.
        hidden: width of the head's hidden layer; 0 for a linear head.
    """

    encoder: ResNet

    def __init__(self, encoder: ResNet, sampler: OrderedTuples | None = None, hidden: int = 512) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or OrderedTuples()
        width = 3 * encoder.num_features
        layers: list[nn.Module] = [nn.Linear(width, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(hidden or width, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B·N tuples."""
        features = self.encoder.frames(clips.video.flatten(0, 1))  # [B N, 3, D]
        score = self.head(features.flatten(1)).squeeze(1).float()  # [B N]
        target = in_order(clips.times).flatten().float()  # [B N]
        correct = (score > 0) == target.bool()
        return {
            "loss": F.binary_cross_entropy_with_logits(score, target),
            "accuracy": correct.float().view(len(clips), -1).mean(1),
            "chance/accuracy": 1 - target.view(len(clips), -1).mean(1),
        }


def in_order(times: Tensor) -> Tensor:
    """``[..., 3]`` seconds to ``[...]`` bool: does the middle frame lie between the outer two?"""
    steps = times.diff(dim=-1)  # [..., 2]
    return (steps > 0).all(-1) | (steps < 0).all(-1)
