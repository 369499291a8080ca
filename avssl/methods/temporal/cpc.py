"""Contrastive predictive coding over time (CPC).

A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive Coding. 2018.
https://arxiv.org/abs/1807.03748
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.losses import dense_nce, mean_outputs
from avssl.methods.recurrent import Blocks


class CPC(Method):
    """Identify the features of the next K blocks among those of other times and videos.

    Each block of consecutive frames is encoded to a vector z. A GRU reads the vectors in order; its output is the
    context c (section 2.2, figure 1). For each distance k a separate matrix maps c to a prediction of z k blocks later,
    whose inner product with the true z must exceed those with other z (equations 3 and 4). Which blocks follow is read
    off the timestamps. Every context with K blocks after it predicts these; candidates are the same K blocks of all
    videos, never blocks already seen, which are known to be wrong.

    Metrics, means over all contexts: ``accuracy`` and ``top5`` among all candidates; ``temporal`` among the K of the
    same video, for which static content is no help (chance 1 / K). See `dense_nce`.

    The paper covers speech, images, text and 3D scenes, not video, and transfers z or c; here z is kept.

    Args:
        encoder: block encoder; a frame encoder's vectors are averaged over the frames of a block.
        predict: K, the number of blocks predicted, fewer than there are (the paper's speech: 12 steps of 10 ms).
        width: context width (the paper's speech: 256).
    """

    sampler: Blocks

    def __init__(self, encoder: Encoder, sampler: Blocks | None = None, predict: int = 3, width: int = 256) -> None:
        super().__init__(encoder, sampler or Blocks())
        self.predict = self.sampler.checked(predict)
        seconds = self.sampler.num_frames * self.sampler.step
        self.caption = f"after each block, the next {predict} of {seconds:.2f} s"
        self.context = nn.GRU(encoder.num_features, width, batch_first=True)
        self.ahead = nn.ModuleList(nn.Linear(width, encoder.num_features, bias=False) for _ in range(predict))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over all contexts of B videos."""
        blocks = self.sampler.blocks
        encoded = rearrange(self.encoder(self.sampler.cut(clips)), "(m block) d -> m block d", block=blocks)
        with torch.autocast(encoded.device.type, enabled=False):
            contexts, _ = self.context(encoded.float())  # [B N, blocks, width]
        outputs = []
        for seen in range(1, blocks - self.predict + 1):
            predicted = torch.stack([ahead(contexts[:, seen - 1]) for ahead in self.ahead], 1)  # [B N, K, D]
            outputs.append(dense_nce(predicted[:, :, None], encoded[:, seen : seen + self.predict, None]))
        return mean_outputs(outputs, clips)
