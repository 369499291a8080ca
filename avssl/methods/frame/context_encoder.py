"""Context encoders.

D. Pathak, P. Krähenbühl, J. Donahue, T. Darrell, A. A. Efros: Context Encoders: Feature Learning by Inpainting. CVPR
2016. https://arxiv.org/abs/1604.07379
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.dense import cell_means
from avssl.methods.losses import nearer, squared_distances

COARSE = 0.06  # random values per pixel of a side, from which regions are made (the authors' code)
CELLS = 8  # cells per side in which masked content is compared for the metric


class ContextEncoder(Method):
    """Inpaint masked regions of a picture.

    A quarter of each picture, in regions of random shape, is filled with the mean colour. The encoder, a layer that is
    fully connected within each channel, a 1 x 1 convolution and five up-convolutions paint the picture. The error is
    the mean square over masked pixels (equation 1); the painted picture must also deceive a discriminator (equation 2),
    so that it need not be the blurred mean of all possible contents; the sum is ``(1 - adversarial) * reconstruction +
    adversarial * deception`` (equation 3).

    With one optimiser, the discriminator's own loss is part of the loss, and its gradient is reversed and scaled by
    ``adversarial`` on its way into the painter, so that both step at once in the paper's minimax problem.

    Real and painted pictures are shown to the discriminator separately, as in the authors' code: in one batch, they
    would share the statistics of its batch normalisation.

    Metric: ``identified``, how often the painted content of a masked cell (of 8 x 8) is nearer to the true content of
    that cell than of another masked cell of the same picture, compared by mean colour; chance 1/2.

    Args:
        width: channels of the painter's and discriminator's largest maps (the authors' code: 64).
        grid: height and width of the bottleneck, to which the maps are pooled (paper: 6).
        hidden: fraction of the pixels that is masked.
        adversarial: weight of the deception (paper: 0.001); 0 omits the discriminator.
    """

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        width: int = 64,
        grid: int = 6,
        hidden: float = 0.25,
        adversarial: float = 0.001,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=1))
        self.hidden, self.adversarial = hidden, adversarial
        mixed = nn.AdaptiveAvgPool2d(grid), ChannelWiseLinear(encoder.num_features, grid)
        self.bottleneck = nn.Sequential(*mixed, nn.Conv2d(encoder.num_features, 8 * width, 1), nn.ReLU())
        layers: list[nn.Module] = []
        for before, after in pairwise((8 * width, 8 * width, 4 * width, 2 * width, width)):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1))
        self.discriminator = discriminator(width) if adversarial > 0 else None
        self.caption = f"{hidden:.0%} cut out"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N·T pictures."""
        pictures = clips.video.flatten(0, 2)  # [M, 3, H, W]
        hidden = self.mask(pictures)
        painted = self.paint(pictures, hidden)
        loss = masked_error(painted, pictures, hidden).mean()
        if self.discriminator is not None:
            shown = pictures, GradientReversal.apply(painted, self.adversarial)
            real, made = (self.discriminator(part).float().mean((1, 2, 3)) for part in shown)  # [M] each
            loss = (1 - self.adversarial) * loss + F.softplus(-real).mean() + F.softplus(made).mean()
        with torch.no_grad():
            identified = self._identified(painted, pictures, hidden)
        return measured(clips, loss, identified=(identified, 0.5))

    def mask(self, pictures: Tensor) -> Tensor:
        """Choose the pixels of ``[M, 3, H, W]`` to mask, ``[M, 1, H, W]`` bool."""
        return random_regions(pictures, self.hidden)

    def paint(self, pictures: Tensor, hidden: Tensor) -> Tensor:
        """Paint ``[M, 3, H, W]`` pictures with mask ``[M, 1, H, W]``: ``[M, 3, H, W]`` float32."""
        seen = pictures * (1 - hidden.to(pictures.dtype))  # the mean colour is 0
        maps = self.encoder.maps(seen[:, None]).squeeze(2)  # [M, D, h, w]
        painted = self.decoder(self.bottleneck(maps)).float()  # [M, 3, 32 grid, 32 grid]
        if painted.shape[-2:] == pictures.shape[-2:]:
            return painted
        return F.interpolate(painted, size=pictures.shape[-2:], mode="bilinear", antialias=True)

    def _identified(self, painted: Tensor, pictures: Tensor, hidden: Tensor) -> Tensor:
        """Return how often masked cells are identified, ``[M]``; 1/2 if there is only one."""
        size, mask = (CELLS, CELLS), hidden.float()
        covered = cell_means(mask, size)  # [M, 1, 8, 8]
        cells = [cell_means(part * mask, size) / covered.clamp(min=1e-6) for part in (painted, pictures)]
        guess, true = (part.flatten(2).mT for part in cells)  # [M, 64, 3]
        known = covered.flatten(1) >= 0.5  # [M, 64]
        distance = squared_distances(guess, true)  # [M, 64, 64]
        own = distance.diagonal(dim1=1, dim2=2)[..., None]
        pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
        count = pairs.flatten(1).sum(1)
        return torch.where(count > 0, (nearer(own, distance) * pairs).flatten(1).sum(1) / count.clamp(min=1), 0.5)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the masked picture, and the picture with its masked regions painted."""
        frames = clips.video.flatten(0, 2)
        hidden = self.mask(frames)
        images = {"shown": frames * ~hidden, "prediction": torch.where(hidden, self.paint(frames, hidden), frames)}
        return {name: clips.denormalise(part).unflatten(0, clips.video.shape[:3]) for name, part in images.items()}


class ChannelWiseLinear(nn.Module):
    """Fully connected layer within each of C channels of G x G: C G^4 weights instead of C^2 G^4 (section 3.1)."""

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        bound = 1 / grid
        self.weight = nn.Parameter(torch.empty(channels, grid**2, grid**2).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels, grid**2))

    def forward(self, maps: Tensor) -> Tensor:
        """Mix the places of ``[M, C, G, G]``, with ReLU."""
        mixed = torch.einsum("mci,cio->mco", maps.flatten(2), self.weight) + self.bias
        return mixed.relu().view_as(maps)


class GradientReversal(torch.autograd.Function):
    """Identity with a reversed, scaled gradient (Ganin & Lempitsky, ICML 2015, section 3)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        """Return ``values``."""
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return minus ``scale`` times the gradient."""
        return -ctx.scale * gradients[0], None


def discriminator(width: int) -> nn.Sequential:
    """Build a network from ``[M, 3, H, W]`` to ``[M, 1, H / 16, W / 16]`` logits of being real."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise((width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 3, padding=1))


def masked_error(painted: Tensor, pictures: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error (equation 1) of ``[M, 3, H, W]`` over a mask ``[M, 1, H, W]``: ``[M]``."""
    weight = hidden.to(painted.dtype)
    error = (painted - pictures.float()).square().mean(1, keepdim=True)  # [M, 1, H, W]
    return (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def random_regions(pictures: Tensor, share: float) -> Tensor:
    """Draw regions of random shape that cover a share of each of ``[M, 3, H, W]``: ``[M, 1, H, W]`` bool (section 3.3).

    Coarse random values are upsampled; the lowest are masked.
    """
    height, width = pictures.shape[-2:]
    coarse = [max(3, math.ceil(COARSE * side)) for side in (height, width)]
    values = torch.rand(len(pictures), 1, *coarse, device=pictures.device)
    smooth = F.interpolate(values, size=(height, width), mode="bicubic")
    count = max(1, round(share * height * width))
    limit = smooth.flatten(1).kthvalue(count, 1).values
    return smooth <= limit[:, None, None, None]
