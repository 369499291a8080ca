"""A coach for context encoders.

S. Singh, A. Batra, G. Pang, L. Torresani, S. Basu, M. Paluri, C. V. Jawahar: Self-Supervised Feature Learning for
Semantic Segmentation of Overhead Imagery. BMVC 2018.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.frame.context_encoder import ContextEncoder, masked_error

CODES = 100  # channels of the coach's latent code
DIVERGENCE = 1e-6  # weight of its divergence from a normal distribution


class CoachedContextEncoder(ContextEncoder):
    """Inpaint the regions that a second network, the coach, finds hardest.

    The coach sees the whole picture and scores its blocks of 16 x 16 pixels; the quarter with the lowest scores is
    masked. It is trained to mask what is painted badly, by one minus the error over the mask, each pixel weighted by
    ``1 - sigmoid(score - threshold)``; its scores come from a random code, so that masks vary (the authors' code). The
    painter is a context encoder without adversary. For the fraction ``warm`` of the run blocks are masked at random, so
    that difficulty rises gradually.

    The coach's error is that of painting the softly masked picture, without gradient, as in the authors' code. The
    loss has the value of the painter's: the coach's would cancel it. The metric is that of `ContextEncoder`.

    Args:
        width: channels of the painter's and the coach's largest maps.
        grid: height and width of the bottleneck.
        hidden: fraction of the blocks that is masked.
        warm: fraction of the run with random blocks.
    """

    progress: Tensor

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        width: int = 64,
        grid: int = 6,
        hidden: float = 0.25,
        warm: float = 0.3,
    ) -> None:
        super().__init__(encoder, sampler, width, grid, hidden, adversarial=0.0)
        self.warm = warm
        layers: list[nn.Module] = []
        for before, after in pairwise((3, width, 2 * width, 4 * width, 8 * width)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.coach = nn.Sequential(*layers, nn.Conv2d(8 * width, 2 * CODES, 1))
        self.judge = nn.Conv2d(CODES, 1, 1)
        self.register_buffer("progress", torch.zeros(()))
        self.soft: tuple[Tensor, Tensor] | None = None  # of this step: soft mask [M, 1, H, W], and the divergence

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the loss of both networks, and the metric, over B·N·T pictures."""
        out = super().forward(clips)
        assert self.soft is not None
        soft, divergence = self.soft
        pictures = clips.video.flatten(0, 2)
        training = self.training
        self.eval()
        with torch.no_grad():
            painted = self.paint(pictures, soft)
        self.train(training)
        coached = 1 - masked_error(painted, pictures, soft).mean() + DIVERGENCE * divergence
        return {**out, "loss": out["loss"] + coached - coached.detach()}

    def mask(self, pictures: Tensor) -> Tensor:
        """Choose whole blocks of ``[M, 3, H, W]`` to mask, ``[M, 1, H, W]`` bool."""
        mean, spread = self.coach(pictures).float().chunk(2, 1)  # [M, 100, h, w] each
        scores = self.judge(mean + (0.5 * spread).exp() * torch.randn_like(mean)).float()  # [M, 1, h, w]
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).mean((2, 3)).sum()
        size = pictures.shape[-2:]
        soft = 1 - (scores - threshold(scores, self.hidden)).sigmoid()
        self.soft = F.interpolate(soft, size=size), divergence
        scores = torch.where(self.progress < self.warm, torch.rand_like(scores), scores)
        return F.interpolate((scores <= threshold(scores, self.hidden)).float(), size=size) > 0

    def after_step(self, progress: float) -> None:
        """Store the progress of the run."""
        self.progress.fill_(progress)


def threshold(scores: Tensor, share: float) -> Tensor:
    """Return the largest of the lowest ``share`` of each picture's scores ``[M, 1, h, w]``: ``[M, 1, 1, 1]``."""
    count = max(1, round(share * scores[0].numel()))
    return scores.detach().flatten(1).kthvalue(count, 1).values[:, None, None, None]
