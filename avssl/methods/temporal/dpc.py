"""Dense predictive coding (DPC).

T. Han, W. Xie, A. Zisserman: Video Representation Learning by Dense Predictive Coding. ICCV workshops 2019.
https://arxiv.org/abs/1909.04656
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.losses import dense_nce, mean_outputs
from avssl.methods.recurrent import Blocks, ConvGRU


class DPC(Method):
    """Predict the feature maps of the coming blocks, place by place.

    A stretch of video is cut into blocks, encoded to feature maps averaged over time. A ConvGRU aggregates the past
    blocks place by place; two 1 x 1 convolutions predict the next block from its state; the prediction is fed back as
    the next input (section 3). Each predicted vector must identify the true one among those of all videos, steps and
    places (section 3; see `dense_nce`). Which blocks follow is read off the timestamps.

    Metrics: ``accuracy`` and ``top5`` among all candidates; ``temporal`` among those of the same video and place, the
    only metric for which static content is no help (chance 1 / K).

    The paper's targets are the maps before the network's last ReLU, which may be negative. torchvision's networks end
    with it, so the targets are 1 x 1 convolutions of the maps. The paper also transfers the ConvGRU.

    Args:
        encoder: clip encoder with maps (the paper: a 3D residual network whose first two stages are 2D).
        predict: blocks to predict, the last of the stretch, fewer than there are.
    """

    sampler: Blocks

    def __init__(self, encoder: Encoder, sampler: Blocks | None = None, predict: int = 3) -> None:
        super().__init__(encoder, sampler or Blocks())
        self.predict = self.sampler.checked(predict)
        features = encoder.num_features
        self.project = nn.Conv2d(features, features, 1)
        self.aggregate = ConvGRU(features, features)
        self.head = nn.Sequential(nn.Conv2d(features, features, 1), nn.ReLU(), nn.Conv2d(features, features, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over the predicted blocks of B videos."""
        blocks = self.encoded(clips)  # [B N, blocks, D, H', W']
        past, future = blocks.split([blocks.shape[1] - self.predict, self.predict], 1)
        return mean_outputs([dense_nce(places(self.predicted(past, self.aggregate)), places(future))], clips)

    def encoded(self, clips: Clips) -> Tensor:
        """Encode the blocks in time order: ``[B N, blocks, D, H', W']``."""
        maps = self.project(self.encoder.maps(self.sampler.cut(clips)).mean(2))
        return rearrange(maps, "(m block) d h w -> m block d h w", block=self.sampler.blocks)

    def predicted(self, past: Tensor, aggregate: ConvGRU) -> Tensor:
        """Predict the next K blocks ``[R, K, D, H', W']`` from the past ones ``[R, blocks, D, H', W']``."""
        hidden: Tensor | None = None
        for block in past.unbind(1):
            hidden = aggregate(F.relu(block), hidden)
        assert hidden is not None
        found = [self.next_block(hidden)]
        while len(found) < self.predict:
            hidden = aggregate(F.relu(found[-1]), hidden)
            found.append(self.next_block(hidden))
        return torch.stack(found, 1)

    def next_block(self, hidden: Tensor) -> Tensor:
        """Predict the next block's maps from the state ``[R, D, H', W']``."""
        return self.head(hidden)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the number and start of the predicted blocks."""
        seen = (self.sampler.blocks - self.predict) * self.sampler.num_frames
        starts = clips.times.sort(2).values[:, :, seen]  # [B, N]
        words = f"{self.predict} blocks to predict, from"
        return [[f"{words} {start:.2f} s on" for start in row] for row in starts.tolist()]


def places(maps: Tensor) -> Tensor:
    """Flatten maps ``[R, K, D, H', W']`` to one vector per place: ``[R, K, H' W', D]``."""
    return rearrange(maps, "r k d h w -> r k (h w) d")
