"""Contrastive predictive coding over time (CPC).

A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive Coding. 2018.
https://arxiv.org/abs/1807.03748
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.losses import dense_nce, mean_outputs
from avssl.methods.recurrent import Blocks, chronological


class CPC(Method):
    """Which of these vectors is the one that follows after k blocks?

    Each block of a stretch of video (of one frame, or of several) is encoded to a vector z; a GRU reads the vectors one
    after the other, its output c at each block being the context so far (section 2.2, figure 1). For each distance k a
    matrix of its own maps c to what z will be k blocks later, and the inner product with the true one must be the
    largest among those of other videos and of other times (equations 3 and 4). Which blocks follow is read off the
    timestamps.

    From every context that has K blocks after it these K are predicted. The candidates are the K blocks after it, in
    all videos: no block is among them that the context has seen, for such a one would be known to be wrong.

    Metrics: ``accuracy`` and ``top5`` among all candidates; ``temporal`` among the K of the same video, for which what
    does not change is no help (chance 1 / K). Means over all contexts. See `dense_nce`.

    The paper has this for speech, images, text and 3D scenes, not for videos. There a representation is z or c; here
    z, the encoder's, is kept.

    Args:
        encoder: of the blocks; a frame encoder's vectors are averaged over the frames of a block.
        sampler: draws the blocks.
        predict: K, the farthest block that is predicted (the paper's speech: 12 steps of 10 ms).
        width: of the context (the paper's speech: 256).

    Raises:
        ValueError: where no block would be left to predict from, or none to predict.
    """

    sampler: Blocks

    def __init__(self, encoder: Encoder, sampler: Blocks | None = None, predict: int = 3, width: int = 256) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or Blocks()
        if not 0 < predict < self.sampler.blocks:
            raise ValueError(f"CPC: predict must be 1 to {self.sampler.blocks - 1}, got {predict}")
        self.predict = predict
        self.context = nn.GRU(encoder.num_features, width, batch_first=True)
        self.ahead = nn.ModuleList(nn.Linear(width, encoder.num_features, bias=False) for _ in range(predict))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over all contexts of B videos."""
        frames = chronological(clips).unflatten(1, (self.sampler.blocks, -1))  # [B N, blocks, T, 3, H, W]
        encoded = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # [B N, blocks, D]
        with torch.autocast(encoded.device.type, enabled=False):
            contexts, _ = self.context(encoded.float())  # [B N, blocks, width]
        outputs = []
        for seen in range(1, self.sampler.blocks - self.predict + 1):
            predicted = torch.stack([ahead(contexts[:, seen - 1]) for ahead in self.ahead], 1)  # [B N, K, D]
            outputs.append(dense_nce(predicted[:, :, None], encoded[:, seen : seen + self.predict, None]))
        out = mean_outputs(outputs)
        return {name: value if name == "loss" else per_video_mean(value, clips) for name, value in out.items()}

    def describe(self, clips: Clips) -> list[list[str]]:
        """How far ahead is predicted."""
        seconds = self.sampler.num_frames * self.sampler.step
        line = f"after each block, the next {self.predict} of {seconds:.2f} s"
        return [[line] * clips.times.shape[1] for _ in range(len(clips))]
