"""Dense predictive coding (DPC).

T. Han, W. Xie, A. Zisserman: Video Representation Learning by Dense Predictive Coding. ICCV workshops 2019.
https://arxiv.org/abs/1909.04656
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.losses import dense_nce
from avssl.methods.recurrent import Blocks, ConvGRU, chronological


class DPC(Method):
    """What will be seen at each place in the blocks to come?

    A stretch of video is cut into blocks; the encoder gives each block maps, averaged over time. A ConvGRU reads the
    blocks of the past place by place; two 1 x 1 convolutions predict the next block from its state, the prediction is
    read as if it had been seen, and so on for several blocks (section 3). Each predicted vector must find the true one
    among those of all videos, steps and places (the contrastive loss of section 3; see `dense_nce`). Which blocks
    follow is read off the timestamps.

    Metrics: ``accuracy`` and ``top5`` among all candidates, ``temporal`` among those of the same video and place: the
    only one for which what does not move is no help (chance 1 / K).

    In the paper maps are taken before the last ReLU of the network, so that targets may be negative, and after it for
    the ConvGRU. torchvision's networks end with that ReLU; a 1 x 1 convolution, thrown away with the head, stands in
    for it. The paper keeps the ConvGRU for transfer too; here the encoder alone is kept.

    Args:
        encoder: clip encoder with maps (the paper: a 3D residual network whose first two stages are 2D).
        sampler: draws the blocks.
        predict: blocks that are predicted, the last of the stretch.

    Raises:
        ValueError: where no block would be left to predict from, or none to predict.
    """

    sampler: Blocks

    def __init__(self, encoder: Encoder, sampler: Blocks | None = None, predict: int = 3) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or Blocks()
        if not 0 < predict < self.sampler.blocks:
            raise ValueError(f"{type(self).__name__}: predict must be 1 to {self.sampler.blocks - 1}, got {predict}")
        self.predict = predict
        features = encoder.num_features
        self.project = nn.Conv2d(features, features, 1)
        self.aggregate = ConvGRU(features, features)
        self.head = nn.Sequential(nn.Conv2d(features, features, 1), nn.ReLU(), nn.Conv2d(features, features, 1))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over the predicted blocks of B videos."""
        blocks = self.encoded(clips)  # [B N, blocks, D, H', W']
        past, future = blocks.split([blocks.shape[1] - self.predict, self.predict], 1)
        out = dense_nce(places(self.predicted(past, self.aggregate)), places(future))
        return {name: value if name == "loss" else per_video_mean(value, clips) for name, value in out.items()}

    def encoded(self, clips: Clips) -> Tensor:
        """Maps of each block from the first to the last in time, ``[B N, blocks, D, H', W']``."""
        frames = chronological(clips).unflatten(1, (self.sampler.blocks, -1))  # [B N, blocks, T, 3, H, W]
        maps = self.encoder.maps(frames.flatten(0, 1)).mean(2)  # [B N blocks, D, H', W']
        return self.project(maps).unflatten(0, frames.shape[:2])

    def predicted(self, past: Tensor, aggregate: ConvGRU) -> Tensor:
        """Maps of the blocks seen, ``[R, blocks, D, H', W']``, to those of the next ones, ``[R, K, D, H', W']``."""
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
        """The state ``[R, D, H', W']`` to the maps of the block that follows."""
        return self.head(hidden)

    def describe(self, clips: Clips) -> list[list[str]]:
        """From which seconds on the video is predicted."""
        seen = (self.sampler.blocks - self.predict) * self.sampler.num_frames
        starts = clips.times.sort(2).values[:, :, seen]  # [B, N]
        return [
            [f"{self.predict} blocks to predict, from {start:.2f} s on" for start in row] for row in starts.tolist()
        ]


def places(maps: Tensor) -> Tensor:
    """``[R, K, D, H', W']`` to vectors ``[R, K, H' W', D]``."""
    return maps.flatten(3).transpose(2, 3)
