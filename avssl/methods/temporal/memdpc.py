"""Memory-augmented dense predictive coding (MemDPC).

T. Han, W. Xie, A. Zisserman: Memory-augmented Dense Predictive Coding for Video Representation Learning. ECCV 2020.
https://arxiv.org/abs/2008.01065
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.losses import dense_nce, mean_outputs
from avssl.methods.recurrent import Blocks, ConvGRU
from avssl.methods.temporal.dpc import DPC, places


class MemDPC(DPC):
    """Predict the coming blocks as mixtures of the slots of a learnt memory.

    As `DPC`, but the head predicts a distribution over the memory's slots, whose mean is the prediction (section 3), so
    a future can have several modes. With ``backward`` a second ConvGRU reads the stretch from its end and predicts its
    beginning, with the same head and memory (the bidirectional aggregation of section 3).

    Metrics: those of `DPC`; means over both directions.

    The paper fuses an RGB and an optical flow network at the end; here there is one network.

    Args:
        predict: blocks to predict in each direction.
        slots: memory slots.
        backward: also predict the beginning from the end.
        gain: gain of the orthogonal weights that both GRUs and the head begin with (the authors' code: 0.1); None for 1
            in the GRUs, and PyTorch's usual weights in the head.
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: Blocks | None = None,
        predict: int = 3,
        slots: int = 1024,
        backward: bool = True,
        gain: float | None = None,
    ) -> None:
        super().__init__(encoder, sampler, predict)
        features = encoder.num_features
        self.head = nn.Sequential(nn.Conv2d(features, features, 1), nn.ReLU(), nn.Conv2d(features, slots, 1))
        self.memory = nn.Parameter(torch.randn(slots, features))
        self.aggregate_backward = ConvGRU(features, features) if backward else None
        if gain is not None:
            for part in (self.aggregate, self.aggregate_backward, self.head):
                orthogonal(part, gain)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over the predicted blocks of B videos."""
        blocks = self.encoded(clips)  # [B N, blocks, D, H', W']
        seen = blocks.shape[1] - self.predict
        outputs = []
        for aggregate, read in ((self.aggregate, blocks), (self.aggregate_backward, blocks.flip(1))):
            if aggregate is not None:
                outputs.append(dense_nce(places(self.predicted(read[:, :seen], aggregate)), places(read[:, seen:])))
        return mean_outputs(outputs, clips)

    def next_block(self, hidden: Tensor) -> Tensor:
        """Return the mean of the memory's slots under the distribution predicted from the state ``[R, D, H', W']``."""
        address = self.head(hidden).float().softmax(1)  # [R, slots, H', W']
        return torch.einsum("rmhw,md->rdhw", address, self.memory)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the predicted blocks in each direction."""
        more = "" if self.aggregate_backward is None else f"; and the first {self.predict} backwards"
        return [[line + more for line in row] for row in super().describe(clips)]


def orthogonal(network: nn.Module | None, gain: float) -> None:
    """Make the weights of convolutions orthogonal, and their biases zero."""
    for layer in network.modules() if network is not None else ():
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
