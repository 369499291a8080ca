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
from avssl.methods.frame.context_encoder import ContextEncoder, hidden_error

CODES = 100  # channels of the coach's latent code
DIVERGENCE = 1e-6  # weight of its distance to a normal distribution


class CoachedContextEncoder(ContextEncoder):
    """What was in the regions that another network, the coach, found hardest to paint?

    The coach sees the whole picture and scores its blocks of 16 x 16 pixels; a quarter of them, those of the lowest
    scores, are cut out. It is trained to hide what is painted badly, by one minus the error over what it hides, each
    pixel weighed by how much it is hidden, ``1 - sigmoid(score - threshold)``; its scores come from a random code, so
    that masks vary (the authors' code). The painter is a context encoder without adversary. Until ``warm`` of the run
    is over blocks are cut out at random, so that difficulty rises gradually.

    Metric: that of `ContextEncoder`.

    The error that the coach is shown is that of painting the softly masked picture, without gradient, as in the
    authors' code; they train painter and coach in turns, here both step at once. The coach is a stack of convolutions
    where the authors take a ResNet 18, and the painter's second loss (what is visible from what is hidden, weight
    0.01) is left out. The value of the loss is the painter's alone: the coach's would cancel it.

    Args:
        encoder: frame encoder.
        sampler: draws the frames.
        width: channels of the painter's and the coach's largest maps.
        grid: height and width of the bottleneck.
        hidden: share of the blocks that is cut out.
        warm: share of the run with random blocks.
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
        self.soft: tuple[Tensor, Tensor] | None = None  # of this step: [M, 1, H, W] how hidden, and the divergence

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss of both networks, and the metric, over B·N·T pictures."""
        out = super().forward(clips)
        assert self.soft is not None
        soft, divergence = self.soft
        pictures = clips.video.flatten(0, 2)
        training = self.training
        self.eval()
        with torch.no_grad():
            painted = self.paint(pictures, soft)
        self.train(training)
        coached = 1 - hidden_error(painted, pictures, soft).mean() + DIVERGENCE * divergence
        return {**out, "loss": out["loss"] + coached - coached.detach()}

    def mask(self, pictures: Tensor) -> Tensor:
        """Which pixels of ``[M, 3, H, W]`` are cut out, whole blocks, ``[M, 1, H, W]`` bool."""
        mean, spread = self.coach(pictures).float().chunk(2, 1)  # [M, 100, h, w] each
        scores = self.judge(mean + (0.5 * spread).exp() * torch.randn_like(mean)).float()  # [M, 1, h, w]
        divergence = -0.5 * (1 + spread - mean.square() - spread.exp()).mean((2, 3)).sum()
        size = pictures.shape[-2:]
        soft = 1 - (scores - threshold(scores, self.hidden)).sigmoid()
        self.soft = F.interpolate(soft, size=size), divergence
        if self.progress < self.warm:
            scores = torch.rand_like(scores)
        return F.interpolate((scores <= threshold(scores, self.hidden)).float(), size=size) > 0

    def after_step(self, progress: float) -> None:
        """How far the run is."""
        self.progress.fill_(progress)


def threshold(scores: Tensor, share: float) -> Tensor:
    """``[M, 1, h, w]`` to ``[M, 1, 1, 1]``: the highest of the lowest ``share`` of a picture's scores, at least one."""
    count = max(1, round(share * scores[0].numel()))
    return scores.detach().flatten(1).kthvalue(count, 1).values[:, None, None, None]
