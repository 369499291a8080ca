"""Contrast of whole videos: SimCLR that keeps the order and the place of what happens.

T. Chen, S. Kornblith, M. Norouzi, G. Hinton: A Simple Framework for Contrastive Learning of Visual Representations.
ICML 2020. R. Qian et al.: Spatiotemporal Contrastive Video Representation Learning (CVRL). CVPR 2021. Z. Xie et al.:
Propagate Yourself: Exploring Pixel-Level Consistency (PixPro). CVPR 2021, on what the mean over places forgets.
"""

from __future__ import annotations

from math import prod

from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import SpreadClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.heads import projection
from avssl.methods.losses import info_nce
from avssl.runtime.checks import check_ranges


class WholeVideos(Method):
    """Match two views of the same whole video among all views of the batch.

    As in SimCLR, but a clip is spread over most of the recording, and the projection head is given the encoder's maps
    averaged on a grid, cell after cell, in place of their mean: two views agree when the same happens *in the same
    order and place*, so that the maps need not forget either. Crops must then be mild and mirror images are left out
    (``transform.flip: 0``) where classes may tell left from right.

    Metric: ``accuracy``, whether the other view of the video is the nearest of the 2 B - 1 others; chance is one over
    their number.

    Args:
        grid: cells in time, height and width, at most as many as the maps have; (1, 1, 1) is SimCLR's mean.
        hidden: width of the projection head's hidden layer.
        out: width of the projection (CVRL: 128).
        layers: linear layers of the head.
        temperature: softmax temperature (CVRL: 0.1).
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: SpreadClips | None = None,
        grid: tuple[int, int, int] = (4, 1, 1),
        hidden: int = 512,
        out: int = 128,
        layers: int = 2,
        temperature: float = 0.1,
    ) -> None:
        check_ranges("WholeVideos", {"grid": grid}, grid="[1, inf)")
        super().__init__(encoder, sampler or SpreadClips())
        self.grid, self.temperature = grid, temperature
        self.head = projection(prod(grid) * encoder.num_features, hidden, out, layers)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B pairs."""
        maps = self.encoder.maps(clips.video.flatten(0, 1))  # [2 B, D, T', H', W'], the two views adjacent
        cells = F.adaptive_avg_pool3d(maps, self.grid).flatten(1)
        first, second = rearrange(self.head(cells), "(b two) d -> two b d", two=2)
        loss, accuracy, chance = info_nce(first, second, self.temperature)
        return measured(clips, loss, accuracy=(accuracy, chance))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the pair of each clip."""
        return [[f"pair {video}"] * 2 for video in range(len(clips))]
