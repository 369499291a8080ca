"""Learning features by watching objects move.

D. Pathak, R. Girshick, P. Dollár, T. Darrell, B. Hariharan: Learning Features by Watching Objects Move. CVPR 2017.
https://arxiv.org/abs/1612.06370
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet
from avssl.labels import MotionSegmentation
from avssl.methods import dense
from avssl.methods.temporal.common import MiddleFrameMethod


class MovingObjects(MiddleFrameMethod):
    """Segment from a single frame the pixels that move.

    Motion between the frames of a clip gives an unsupervised mask of what moves in the middle frame; the network sees
    that frame alone and predicts the mask, with a logistic loss over the cells that the trimap labels (section 4).

    Metric: ``iou``, intersection over union of the cells predicted and labelled as moving. Chance is the better of
    calling everything moving and the mask predicted for another video; both are 0 where nothing moves.

    The paper crops a jittered box around one moving object and predicts its mask with fully connected layers; here all
    objects in the whole (randomly cropped) image are predicted, with a convolutional head.

    Args:
        moving: loss weight of a moving cell, relative to 1 for others; above 1 because few cells move.
    """

    def __init__(
        self,
        encoder: ResNet,
        sampler: RandomClips | None = None,
        labeller: MotionSegmentation | None = None,
        width: int = 64,
        moving: float = 3.0,
    ) -> None:
        sampler = sampler or RandomClips(num_frames=5, step=0.08, motion_weighted=True)
        super().__init__(encoder, sampler, labeller or MotionSegmentation(), width)
        self.moving = moving

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and intersection over union over all cells."""
        scores = self.scores(clips)  # [B, N, h, w]
        target, known = cell_targets(clips, scores.shape[-2:])

        def iou(mask: Tensor) -> Tensor:
            both, either = ((shape & known).flatten(1).sum(1) for shape in (mask & target, mask | target))
            return both / either.clamp(min=1)

        mask = scores > 0
        return {
            "loss": dense.masked_logistic_loss(scores, target, known, self.moving),
            "iou": iou(mask),
            "chance/iou": dense.chance_level(iou, mask, torch.ones_like(mask)),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the share of the image that moves."""
        assert clips.target is not None
        moving = (clips.target == 1).flatten(2).float().mean(2)
        return [[f"{share:.0%} of the middle frame moves" for share in row] for row in moving.tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the trimap (white: moving, grey: unknown) and the predicted probabilities."""
        assert clips.target is not None
        trimap = torch.where(clips.target < 0, 0.5, clips.target.float())
        return {"target": dense.grey_pictures(trimap), "prediction": dense.grey_pictures(self.scores(clips).sigmoid())}


def cell_targets(clips: Clips, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Reduce the trimap to cells: two ``[B, N, h, w]`` bool, mostly moving, and at least half known."""
    assert clips.target is not None
    known = dense.cell_means(clips.target >= 0, size)
    moving = dense.cell_means(clips.target == 1, size)
    return moving > known / 2, known >= 0.5
