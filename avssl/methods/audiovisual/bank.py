"""A memory of one vector per video and modality, against which clips and sounds are contrasted.

P. Morgado, N. Vasconcelos, I. Misra: Audio-Visual Instance Discrimination with Cross-Modal Agreement. CVPR 2021.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.methods.distributed import drawn, gather
from avssl.methods.losses import inner_products

ROWS = 256  # videos whose agreement with all others is computed at once


class InstanceBank(nn.Module):
    """Unit vectors of the pictures and of the sound of every training video, moving averages over its clips.

    Args:
        videos: N, number of training videos.
        width: D, dimension of the vectors.
        negatives: vectors of other videos that a clip is contrasted with (paper: 1024).
        momentum: share of a vector that is kept when its video comes again (paper: 0.5).
        temperature: divisor of the cosines (paper: 0.07).
    """

    seen: Tensor
    heard: Tensor
    partition: Tensor

    def __init__(self, videos: int, width: int, negatives: int, momentum: float, temperature: float) -> None:
        super().__init__()
        self.negatives, self.momentum, self.temperature = negatives, momentum, temperature
        for name in ("seen", "heard"):
            self.register_buffer(name, F.normalize(torch.randn(videos, width), dim=1))
        self.register_buffer("partition", torch.zeros(()))  # mean exponential score of a negative; 0: not yet known

    def others(self, members: Tensor) -> Tensor:
        """Draw videos ``[B, K]`` uniformly from those that aren't among the ascending ``members`` ``[B, P]``."""
        rows, count = members.shape
        device, rest = members.device, len(self.seen) - count
        numbers = drawn(lambda videos: torch.randint(rest, (videos, self.negatives), device=device), rows)
        before = members - torch.arange(count, device=device)  # [B, P]: how many that aren't members lie before each
        return numbers + (numbers[..., None] >= before[:, None]).sum(2)

    def scores(self, vectors: Tensor, others: Tensor) -> Tensor:
        """Return the cosines of ``[B, D]`` and ``[B, K, D]`` unit vectors over the temperature, ``[B, K]``."""
        return inner_products(vectors[:, None], others).squeeze(1) / self.temperature

    def loss(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Return the noise-contrastive loss of scores ``[B, P]`` of positives and ``[B, K]`` of negatives.

        Each is classified as positive or as noise (section 3.1, equations 2 and 3; M. Gutmann, A. Hyvarinen, AISTATS
        2010), with the mean over positives and the sum over negatives. The scores are normalised by a constant, the
        mean exponential score of the first step's negatives (Wu et al., CVPR 2018, section 3.2).
        """
        first = gather(negative.detach().exp().mean().view(1))[0].mean()
        constant = torch.where(self.partition > 0, self.partition, first)
        if self.training:
            self.partition.copy_(constant)
        noise = constant.log() + math.log(negative.shape[1])
        return (F.softplus(noise - positive).mean(1) + F.softplus(negative - noise).sum(1)).mean()

    @torch.no_grad()
    def update(self, index: Tensor, seen: Tensor, heard: Tensor) -> None:
        """Move the vectors of videos ``[B]`` towards those of their latest clips and sounds, ``[B, D]`` each."""
        for kept, new in ((self.seen, seen), (self.heard, heard)):
            kept[index] = F.normalize(self.momentum * kept[index] + (1 - self.momentum) * new, dim=1)

    @torch.no_grad()
    def agreeing(self, count: int) -> Tensor:
        """Return for each video itself and the ``count`` videos that agree with it most, ascending: ``[N, count + 1]``.

        Two videos agree by the smaller of the cosines of their pictures and of their sounds (section 4.2).
        """
        found = []
        for own in torch.arange(len(self.seen), device=self.seen.device).split(ROWS):
            alike = torch.minimum(self.seen[own] @ self.seen.T, self.heard[own] @ self.heard.T)  # [R, N]
            alike.scatter_(1, own[:, None], torch.inf)
            found.append(alike.topk(count + 1, dim=1).indices.sort(1).values)
        return torch.cat(found)
