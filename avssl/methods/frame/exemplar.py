"""Exemplars: every picture is a class of its own.

A. Dosovitskiy, J. T. Springenberg, M. Riedmiller, T. Brox: Discriminative Unsupervised Feature Learning with
Convolutional Neural Networks. NIPS 2014. https://arxiv.org/abs/1406.6909
A. Kolesnikov, X. Zhai, L. Beyer: Revisiting Self-Supervised Visual Representation Learning. CVPR 2019.
https://arxiv.org/abs/1901.09005 (the form that is built here)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.distributed import gather
from avssl.methods.losses import inner_products, triplet
from avssl.runtime.checks import check_ranges


@dataclass(frozen=True)
class Views:
    """One frame of a video several times, as clips that the transform changes differently.

    Args:
        clips: how often (N).
    """

    clips: int = 8

    def __post_init__(self) -> None:
        check_sampler(self)
        check_ranges("sampler", self, clips="[2, inf)")

    @property
    def seconds(self) -> float:
        """A frame takes no time, so an image is long enough."""
        return TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw one time, ``[N, 1]``."""
        start = random_start(info, self.seconds, rng)
        return ClipTimes(torch.full((self.clips, 1), start, dtype=torch.float64))


class Exemplar(Method):
    """Tell pictures apart, however they are cropped and coloured.

    Dosovitskiy et al. classify patches into thousands of surrogate classes, one for each patch and its changes. So that
    the number of classes does not grow with that of pictures, Kolesnikov et al. (section 3.2) take a
    triplet loss instead: a view of a picture has to be nearer to all its other views than to views of other pictures,
    with semi-hard negatives from the batch.

    Metric: ``accuracy``, how often the nearest of all other views in the batch, by cosine, is one of the same picture;
    chance is their share.

    Args:
        encoder: of frames; applied to each of N views.
        sampler: draws one frame, N times (paper: 8).
        margin: between squared distances of unit vectors (the authors' code: 0.5).
        out: numbers of the vector that is compared.
    """

    sampler: Views
    caption = "the same picture"

    def __init__(self, encoder: Encoder, sampler: Views | None = None, margin: float = 0.5, out: int = 128) -> None:
        super().__init__(encoder, sampler or Views())
        self.margin = margin
        self.head = nn.Linear(encoder.num_features, out)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over N views of each of B pictures."""
        views = F.normalize(self.head(self.encoder(clips.video.flatten(0, 1))).float(), dim=1)  # [B N, D]
        every, offset = gather(views)
        picture = torch.arange(len(every), device=views.device) // clips.video.shape[1]
        same = picture[:, None] == picture
        itself = torch.eye(len(every), dtype=torch.bool, device=views.device)
        loss = triplet(every[None], (same & ~itself)[None], ~same[None], self.margin, "semi-hard")
        own = slice(offset, offset + len(views))
        with torch.no_grad():
            cosine = inner_products(views, every).masked_fill(itself[own], -torch.inf)
            right = picture[cosine.argmax(1)] == picture[own]
        return measured(clips, loss, accuracy=(right, (clips.video.shape[1] - 1) / (len(every) - 1)))
