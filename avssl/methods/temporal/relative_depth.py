"""Relative depth from motion.

H. Jiang, E. Learned-Miller, G. Larsson, M. Maire, G. Shakhnarovich: Self-Supervised Relative Depth Learning for Urban
Scene Understanding. ECCV 2018. https://arxiv.org/abs/1712.04850
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.labels import RelativeDepth
from avssl.methods import dense
from avssl.methods.temporal.common import MiddleFrameMethod


class DepthOrder(MiddleFrameMethod):
    """Predict relative depth from a single frame.

    The optical flow of the moving camera gives the relative depth of the middle frame, as percentiles. The network sees
    that frame alone and predicts them, with an L1 loss over the cells whose depth is known (section 3).

    Metric: ``agreement``, the share of random pairs of cells ranked as their labels are, if these differ by at least
    ``apart``. Chance is the better of 0.5 and another video's prediction, so "lower is nearer" earns nothing.

    Args:
        pairs: pairs of cells compared per clip.
        apart: smallest difference of two labels, in [0, 1], for a pair to count.
    """

    def __init__(
        self,
        encoder: ResNet,
        sampler: RandomClips | None = None,
        labeller: RelativeDepth | None = None,
        width: int = 64,
        pairs: int = 512,
        apart: float = 0.1,
    ) -> None:
        sampler = sampler or RandomClips(num_frames=3, step=0.4)
        super().__init__(encoder, sampler, labeller or RelativeDepth(), width)
        self.pairs, self.apart = pairs, apart

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss over all cells, and the agreement of pairs drawn with torch's global generator."""
        predicted = self.predicted(clips)  # [B, N, h, w]
        target, known = self.targets(clips, predicted.shape[-2:])
        cells = predicted.shape[2] * predicted.shape[3]
        first, second = torch.randint(cells, (2, self.pairs), device=predicted.device)
        flat, sure = target.flatten(2), known.flatten(2)
        difference = flat[..., first] - flat[..., second]  # [B, N, pairs]
        counted = sure[..., first] & sure[..., second] & (difference.abs() >= self.apart)

        def agreement(depth: Tensor) -> Tensor:
            values = depth.flatten(2)
            return dense.masked_accuracy((values[..., first] > values[..., second]) == (difference > 0), counted)

        other = dense.chance_level(agreement, predicted, torch.zeros_like(predicted))
        even = 0.5 * counted.flatten(1).any(1)
        return {
            "loss": ((predicted - target).abs() * known).sum() / known.sum().clamp(min=1),
            "agreement": agreement(predicted),
            "chance/agreement": torch.where(other.mean() > even.mean(), other, even),
        }

    def predicted(self, clips: Clips) -> Tensor:
        """Predict depth percentiles ``[B, N, h, w]`` from 0 (near) to 1, from the middle frames alone."""
        return self.scores(clips).sigmoid()

    def targets(self, clips: Clips, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the mean known label per cell, and whether at least half a cell is known: ``[B, N, h, w]`` each."""
        assert clips.target is not None
        known = torch.isfinite(clips.target)
        part = dense.cell_means(known, size)
        total = dense.cell_means(torch.where(known, clips.target, 0), size)
        return total / part.clamp(min=1e-6), part >= 0.5

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the share of the image that has a label."""
        assert clips.target is not None
        known = torch.isfinite(clips.target).flatten(2).float().mean(2)
        return [[f"depth known of {share:.0%} of the middle frame" for share in row] for row in known.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return true and predicted percentiles: near white, far black, unknown red."""
        assert clips.target is not None
        known = torch.isfinite(clips.target)
        near = 1 - torch.where(known, clips.target, 1)
        target = torch.stack([torch.where(known, near, 0.5), near, near], 2)[:, :, None]
        return {"target": target, "prediction": dense.grey_pictures(1 - self.predicted(clips))}
