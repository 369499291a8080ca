"""Video clip order prediction (VCOP).

D. Xu, J. Xiao, Z. Zhao, J. Shao, D. Xie, Y. Zhuang: Self-supervised Spatiotemporal Learning via Video Clip Order
Prediction. CVPR 2019.
"""

from __future__ import annotations

from itertools import combinations, permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import ShuffledClips
from avssl.encoders import Encoder
from avssl.methods.base import Method


class VCOP(Method):
    """In which order were these clips shown?

    Features of every pair of clips are concatenated and passed through one shared layer; all pairs together predict
    which of the N! orders is shown (section 3.4, equations 1 and 2). The target is read off the timestamps.

    Metric: ``accuracy`` over the N! orders; chance is 1/N!.

    Args:
        encoder: clip encoder.
        sampler: draws N consecutive clips and permutes them.
        hidden: width of the pairwise layer (the authors' code: 512).
        dropout: before the classifier (the authors' code: 0.5).
    """

    def __init__(
        self, encoder: Encoder, sampler: ShuffledClips | None = None, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or ShuffledClips()
        self.pairs = list(combinations(range(self.sampler.clips), 2))
        orders = torch.tensor(list(permutations(range(self.sampler.clips))))  # [N!, N]
        self.register_buffer("orders", orders, persistent=False)
        self.pair = nn.Sequential(nn.Linear(2 * encoder.num_features, hidden), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden * len(self.pairs), len(orders)))

    orders: Tensor

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B videos."""
        features = self.encoder(clips.video.flatten(0, 1)).unflatten(0, (len(clips), -1))  # [B, N, D]
        pairs = [self.pair(features[:, [i, j]].flatten(1)) for i, j in self.pairs]  # P x [B, hidden]
        scores = self.classifier(torch.cat(pairs, 1)).float()  # [B, N!]
        target = self.order_shown(clips.times)
        return {
            "loss": F.cross_entropy(scores, target),
            "accuracy": (scores.argmax(1) == target).float(),
            "chance/accuracy": torch.full((len(clips),), 1 / len(self.orders), device=scores.device),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """Which place each clip has in time."""
        ranks = self.orders[self.order_shown(clips.times)] + 1
        return [[f"clip {rank} in time" for rank in row] for row in ranks.tolist()]

    def order_shown(self, times: Tensor) -> Tensor:
        """``[B, N, T]`` seconds to ``[B]``: which row of ``orders`` the clips' ranks in time are."""
        ranks = times[:, :, 0].argsort(1).argsort(1)  # [B, N]
        return (ranks[:, None] == self.orders).all(2).long().argmax(1)
