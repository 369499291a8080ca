"""Contrastive learning on clips: SimCLR in space and time.

T. Chen, S. Kornblith, M. Norouzi, G. Hinton: A Simple Framework for Contrastive Learning of Visual Representations.
ICML 2020. R. Qian et al.: Spatiotemporal Contrastive Video Representation Learning (CVRL). CVPR 2021.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import NearbyClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.heads import projection
from avssl.methods.losses import info_nce


class SimCLR(Method):
    """Match two clips of the same video among all clips of the batch.

    Two clips of one video, each with its own augmentation, drawn once for all its frames (CVRL, section 3.3), are a
    positive pair; the clips of other videos are negatives (CVRL, equation 1).

    Metric: ``accuracy``, whether the other clip of the video is the nearest of the 2 B - 1 others; chance is one over
    their number.

    Args:
        hidden: width of the projection head's hidden layers (CVRL: 2048).
        out: width of the projection (CVRL: 128).
        layers: linear layers of the head (CVRL: 3).
        temperature: softmax temperature (CVRL: 0.1).
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: NearbyClips | None = None,
        hidden: int = 2048,
        out: int = 128,
        layers: int = 3,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder, sampler or NearbyClips())
        self.temperature = temperature
        self.head = projection(encoder.num_features, hidden, out, layers)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B pairs."""
        projected = self.head(self.encoder(clips.video.flatten(0, 1)))  # [2 B, out], the two clips of a video adjacent
        first, second = rearrange(projected, "(b two) d -> two b d", two=2)
        loss, accuracy, chance = info_nce(first, second, self.temperature)
        return measured(clips, loss, accuracy=(accuracy, chance))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the pair of each clip."""
        return [[f"pair {video}"] * 2 for video in range(len(clips))]
