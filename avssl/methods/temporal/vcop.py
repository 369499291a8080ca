"""Video clip order prediction (VCOP).

D. Xu, J. Xiao, Z. Zhao, J. Shao, D. Xie, Y. Zhuang: Self-supervised Spatiotemporal Learning via Video Clip Order
Prediction. CVPR 2019.
"""

from __future__ import annotations

from itertools import permutations
from math import comb

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import ShuffledClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.losses import classification
from avssl.methods.temporal.common import order_index, pair_features


class VCOP(Method):
    """Predict the order of shuffled clips.

    Features of every pair of clips are concatenated and passed through one shared layer; all pairs together predict
    which of the N! orders is shown (section 3.4, equations 1 and 2). The target is read off the timestamps.

    Metric: ``accuracy`` over the N! orders; chance is 1/N!.

    Args:
        hidden: width of the pairwise layer (the authors' code: 512).
        dropout: rate before the classifier (the authors' code: 0.5).
    """

    orders: Tensor
    sampler: ShuffledClips

    def __init__(
        self, encoder: Encoder, sampler: ShuffledClips | None = None, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__(encoder, sampler or ShuffledClips())
        count = self.sampler.clips
        orders = torch.tensor(list(permutations(range(count))))  # [N!, N]
        self.register_buffer("orders", orders, persistent=False)
        self.pair = nn.Sequential(nn.Linear(2 * encoder.num_features, hidden), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden * comb(count, 2), len(orders)))

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B videos."""
        features = rearrange(self.encoder(clips.video.flatten(0, 1)), "(b n) d -> b n d", b=len(clips))
        scores = self.classifier(pair_features(self.pair, features)).float()  # [B, N!]
        return classification(scores, self.order_shown(clips.times), clips)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the temporal rank of each clip."""
        ranks = self.orders[self.order_shown(clips.times)] + 1
        return [[f"clip {rank} in time" for rank in row] for row in ranks.tolist()]

    def order_shown(self, times: Tensor) -> Tensor:
        """Return the row of ``orders`` that holds the clips' ranks in time: ``[B, N, T]`` seconds to ``[B]``."""
        return order_index(times[:, :, 0].argsort(1).argsort(1), self.orders)
