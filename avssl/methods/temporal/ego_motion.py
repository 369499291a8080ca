"""Learning to see by moving, and slow features, its baseline.

P. Agrawal, J. Carreira, J. Malik: Learning to See by Moving. ICCV 2015. https://arxiv.org/abs/1505.01596
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, random_start, uniform
from avssl.encoders import Encoder, ResNet
from avssl.labels import AXES, EgoMotionFromPoses, EgoMotionFromVideo
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.dense import MapHead, accuracy_and_chance, masked_accuracy, most_frequent
from avssl.methods.temporal.common import EitherWay

REACH = 2  # largest displacement that can be matched, in cells of 8 pixels


class EgoMotion(Method):
    """Classify the camera's rotation and translation between two frames.

    A siamese base network, which is kept, encodes the frames one by one; a top network sees both and classifies each of
    six axes of the camera's motion, rotation and translation, into bins (section 3, figure 2).

    The paper's top network convolves both feature maps, stacked, at 1/16 of the resolution, and within hundreds of
    steps memorises pairs instead of measuring motion. Here it sees only the similarities of the cells of both frames,
    at 1/8 of the resolution (`cost_volume`), so the features have to be matchable.

    Metrics: ``accuracy``, the share of axes whose bin is right, and ``sign``, the share whose bin is on the right side
    of zero. Chance is the better of each axis's most frequent bin (sign) in other videos and another pair's answer.

    Args:
        encoder: base network, a frame encoder with stages.
        sampler: draws clips whose first and last frame make a pair (the paper: at most 7 frames apart).
        labeller: computes classes from the poses or from the video.
        width: channels of the top network.
        dropout: dropout rate of the top network's last features.
    """

    encoder: ResNet
    labeller: EgoMotionFromPoses | EgoMotionFromVideo
    frames_only = True

    def __init__(
        self,
        encoder: ResNet,
        sampler: EitherWay | None = None,
        labeller: EgoMotionFromPoses | EgoMotionFromVideo | None = None,
        width: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, sampler or EitherWay(num_frames=2, step=0.32))
        self.head = MapHead(encoder, 32, hidden=32)
        self.labeller = labeller or EgoMotionFromVideo()
        convolution = nn.Conv2d((2 * REACH + 1) ** 2, width, 3, padding=1)
        maps = (convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten())
        hidden = (nn.Linear(9 * width, width), nn.ReLU(), nn.Dropout(dropout))
        self.top = nn.Sequential(*maps, *hidden, nn.Linear(width, len(AXES) * self.labeller.bins))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N pairs and the axes whose class is known."""
        assert clips.target is not None
        target = clips.target  # [B, N, 6]
        ends = clips.video[:, :, [0, -1]].flatten(0, 1)  # [B N, 2, 3, H, W]
        maps = F.avg_pool2d(self.head(self.encoder.stages(ends)), 2).unflatten(0, (-1, 2))  # [B N, 2, C, h, w]
        similarity = cost_volume(maps[:, 0], maps[:, 1], REACH)
        scores = self.top(similarity).float().unflatten(1, (len(AXES), -1))  # [B N, 6, bins]
        bins = scores.shape[2]
        likely = scores.softmax(2)
        right = likely[..., (bins + 1) // 2 :].sum(2) > likely[..., : bins // 2].sum(2)
        known = target >= 0
        middle = (bins - 1) / 2
        signed = known & (target != middle)
        positive = target > middle
        axis = torch.arange(len(AXES), device=target.device).expand_as(target).flatten(1)
        common = most_frequent(target.flatten(1), axis).view_as(target)
        major = most_frequent(torch.where(signed, positive.long(), -1).flatten(1), axis).view_as(target) == 1
        return {
            "loss": F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=-1),
            **accuracy_and_chance("accuracy", scores.argmax(2).view_as(target), target, known, common),
            **accuracy_and_chance("sign", right.view_as(target), positive, signed, major),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the bin of each axis, counted from the middle."""
        assert clips.target is not None
        middle = (self.labeller.bins - 1) / 2

        def words(classes: list[int]) -> str:
            known = ((axis, number) for axis, number in zip(AXES, classes, strict=True) if number >= 0)
            return ", ".join(f"{axis} {number - middle:+g}" for axis, number in known)

        return [[words(pair) for pair in row] for row in clips.target.tolist()]


def cost_volume(first: Tensor, second: Tensor, reach: int) -> Tensor:
    """Return cosines of each cell and those up to ``reach`` away in another frame, row by row; 0 outside the image.

    Source: FlowNet's correlation layer (Dosovitskiy et al., ICCV 2015, section 3, equation 1), of single cells. Two
    ``[M, C, h, w]`` to ``[M, (2 reach + 1)^2, h, w]``.
    """
    first, around = F.normalize(first, dim=1), F.pad(F.normalize(second, dim=1), [reach] * 4)
    height, width = first.shape[-2:]
    shifts = [(y, x) for y in range(2 * reach + 1) for x in range(2 * reach + 1)]
    return torch.stack([(first * around[..., y : y + height, x : x + width]).sum(1) for y, x in shifts], 1)


@dataclass(frozen=True)
class NearAndFar:
    """Pairs of frames of one video, alternately near and far in time.

    Args:
        pairs: pairs per video; the even ones are near.
        near: longest time between near frames, in seconds.
        far: shortest time between far frames, in seconds; at least ``near``.
    """

    pairs: int = 4
    near: float = 0.2
    far: float = 1.0

    def __post_init__(self) -> None:
        check_sampler(self)
        if not 0 < self.near <= self.far:
            raise ValueError(f"NearAndFar: expected 0 < near <= far, got near={self.near}, far={self.far}")

    @property
    def seconds(self) -> float:
        """Shortest video with two far frames."""
        return self.far + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[pairs, 2]``, each pair in time order."""
        times = []
        for pair in range(self.pairs):
            apart = uniform(0, self.near, rng) if pair % 2 == 0 else uniform(self.far, info.duration - TINY, rng)
            start = random_start(info, apart + TINY, rng)
            times.append([start, start + apart])
        return ClipTimes(torch.tensor(times, dtype=torch.float64))


class SlowFeatures(Method):
    """Slow features: frames near in time have similar features, far frames differ by at least a margin.

    The paper's baseline, a contrastive form of slow feature analysis (section 3.4; Hadsell et al., CVPR 2006): the loss
    is the distance of near features, and the shortfall of far ones from the margin. Timestamps tell which are near.

    Metric: ``order``, whether a near pair has closer features than a far pair of the same video; chance is 0.5.

    Args:
        margin: smallest distance of far frames; below 2, since features have length 1.
    """

    sampler: NearAndFar
    frames_only = True

    def __init__(self, encoder: Encoder, sampler: NearAndFar | None = None, margin: float = 1.0) -> None:
        super().__init__(encoder, sampler or NearAndFar())
        self.margin = margin

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss over all pairs, and their order within each video."""
        maps = self.encoder.maps(clips.video.flatten(0, 1))  # [B N, D, 2, h, w]
        vectors = F.normalize(maps.mean((3, 4), dtype=torch.float32), dim=1)  # [B N, D, 2]
        distance = vectors.diff(dim=2).square().sum((1, 2)).add(1e-8).sqrt().view(clips.times.shape[:2])  # [B, N]
        near = self.near(clips.times)
        loss = torch.where(near, distance, (self.margin - distance).clamp(min=0)).mean()
        ordered = distance[:, :, None] < distance[:, None, :]  # [B, N, N]
        return measured(clips, loss, order=(masked_accuracy(ordered, near[:, :, None] & ~near[:, None, :]), 0.5))

    def near(self, times: Tensor) -> Tensor:
        """Return whether each pair of frames is near: ``[..., 2]`` seconds to ``[...]`` bool."""
        return times.diff(dim=-1).squeeze(-1).abs() <= self.sampler.near

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name each pair as near or far."""
        return [["near" if yes else "far" for yes in row] for row in self.near(clips.times).tolist()]
