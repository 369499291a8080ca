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
from avssl.methods.base import Method, per_video_mean
from avssl.methods.dense import cell_means
from avssl.methods.losses import nearer, squared_distances
from avssl.pixels import denormalise

COARSE = 0.06  # cells of random noise per pixel, from which regions are made (the authors' code)
CELLS = 8  # along each side, in which hidden content is compared for the metric


class ContextEncoder(Method):
    """What was in the regions that are cut out of this picture?

    A quarter of each picture, in regions of random shape, is filled with the mean colour. Encoder, a layer that is
    fully connected within each channel and mixes no channels, a 1 x 1 convolution and five up-convolutions paint the
    picture again. The error is the mean square over hidden pixels (equation 1); beside it the painted picture must
    deceive a discriminator (equation 2), so that it need not be the blurred mean of all that could be there; the sum is
    ``(1 - adversarial) * reconstruction + adversarial * deception`` (equation 3).

    Metric: ``identified``, how often the painted content of a hidden cell (of 8 x 8) is nearer to the true one of that
    cell than of another hidden cell of the same picture, compared by their mean colours; chance 1/2.

    The engine has one optimiser. The discriminator's own loss is part of the loss, and its gradient is reversed and
    scaled by ``adversarial`` on its way into the painter: both step at once on the two sides of the minimax problem of
    the paper, where the authors' code takes turns, with another learning rate for each and the painter's loss in its
    non-saturating form. The authors draw regions from one large pattern for a batch; here each picture has its own,
    and exactly the wanted share is hidden.

    Args:
        encoder: frame encoder.
        sampler: draws the frames.
        width: channels of the painter's and discriminator's largest maps (the authors' code: 64).
        grid: height and width of the bottleneck, to which the maps are pooled (the paper: 6).
        hidden: share of the pixels that is cut out.
        adversarial: weight of the deception (the paper: 0.001); 0 leaves the discriminator out.
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
        super().__init__()
        self.encoder, self.hidden, self.adversarial = encoder, hidden, adversarial
        self.sampler = sampler or RandomClips(num_frames=1)
        self.bottleneck = nn.Sequential(
            nn.AdaptiveAvgPool2d(grid),
            ChannelWise(encoder.num_features, grid),
            nn.Conv2d(encoder.num_features, 8 * width, 1),
            nn.ReLU(),
        )
        layers: list[nn.Module] = []
        for before, after in pairwise((8 * width, 8 * width, 4 * width, 2 * width, width)):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1))
        self.discriminator = discriminator(width) if adversarial > 0 else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metric over B·N·T pictures."""
        pictures = clips.video.flatten(0, 2)  # [M, 3, H, W]
        hidden = self.mask(pictures)
        painted = self.paint(pictures, hidden)
        loss = hidden_error(painted, pictures, hidden).mean()
        if self.discriminator is not None:
            both = torch.cat([pictures, Reversed.apply(painted, self.adversarial)])
            real, made = self.discriminator(both).float().mean((1, 2, 3)).chunk(2)  # [M] each
            loss = (1 - self.adversarial) * loss + F.softplus(-real).mean() + F.softplus(made).mean()
        with torch.no_grad():
            identified = per_video_mean(self._identified(painted, pictures, hidden), clips)
        return {"loss": loss, "identified": identified, "chance/identified": torch.full_like(identified, 0.5)}

    def mask(self, pictures: Tensor) -> Tensor:
        """Which pixels of ``[M, 3, H, W]`` are cut out, ``[M, 1, H, W]`` bool."""
        return random_regions(pictures, self.hidden)

    def paint(self, pictures: Tensor, hidden: Tensor) -> Tensor:
        """``[M, 3, H, W]`` and what is cut out of it, ``[M, 1, H, W]``, to the painted ``[M, 3, H, W]`` float32."""
        seen = pictures * (1 - hidden.to(pictures.dtype))  # the mean colour is 0
        maps = self.encoder.maps(seen[:, None]).squeeze(2)  # [M, D, h, w]
        painted = self.decoder(self.bottleneck(maps)).float()  # [M, 3, 32 grid, 32 grid]
        if painted.shape[-2:] == pictures.shape[-2:]:
            return painted
        return F.interpolate(painted, size=pictures.shape[-2:], mode="bilinear", antialias=True)

    def _identified(self, painted: Tensor, pictures: Tensor, hidden: Tensor) -> Tensor:
        """``[M]``: how often the content of a hidden cell is told from that of the others; 1/2 where there is one."""
        size, shown = (CELLS, CELLS), hidden.float()
        covered = cell_means(shown, size)  # [M, 1, 8, 8]
        cells = [cell_means(part * shown, size) / covered.clamp(min=1e-6) for part in (painted, pictures)]
        guess, true = (part.flatten(2).mT for part in cells)  # [M, 64, 3]
        known = covered.flatten(1) >= 0.5  # [M, 64]
        distance = squared_distances(guess, true)  # [M, 64, 64]
        own = distance.diagonal(dim1=1, dim2=2)[..., None]
        pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
        count = pairs.flatten(1).sum(1)
        return torch.where(count > 0, (nearer(own, distance) * pairs).flatten(1).sum(1) / count.clamp(min=1), 0.5)

    def describe(self, clips: Clips) -> list[list[str]]:
        """How much is hidden."""
        return [[f"{self.hidden:.0%} cut out"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What the encoder sees, and the picture with the painted regions in place."""
        frames = clips.video.flatten(0, 2)
        hidden = self.mask(frames)
        drawn = {"shown": frames * ~hidden, "prediction": torch.where(hidden, self.paint(frames, hidden), frames)}
        return {name: denormalise(part).unflatten(0, clips.video.shape[:3]) for name, part in drawn.items()}


class ChannelWise(nn.Module):
    """A layer that is fully connected within each channel: C G^4 weights where a full one has C^2 G^4 (section 3.1).

    Args:
        channels: C.
        grid: G, height and width of the maps.
    """

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        bound = 1 / grid
        self.weight = nn.Parameter(torch.empty(channels, grid**2, grid**2).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels, grid**2))

    def forward(self, maps: Tensor) -> Tensor:
        """``[M, C, G, G]`` to the same, with ReLU."""
        mixed = torch.einsum("mci,cio->mco", maps.flatten(2), self.weight) + self.bias
        return mixed.relu().view_as(maps)


class Reversed(torch.autograd.Function):
    """The same values; a gradient that is turned round and scaled (Ganin & Lempitsky, ICML 2015, section 3)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        """``values``."""
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Minus ``scale`` times the gradient."""
        return -ctx.scale * gradients[0], None


def discriminator(width: int) -> nn.Sequential:
    """``[M, 3, H, W]`` to ``[M, 1, H / 16, W / 16]`` logits of being a real picture."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise((width, 2 * width, 4 * width, 8 * width)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 3, padding=1))


def hidden_error(painted: Tensor, pictures: Tensor, hidden: Tensor) -> Tensor:
    """``[M, 3, H, W]`` twice and ``[M, 1, H, W]`` to ``[M]``: the mean square over what is hidden (equation 1)."""
    weight = hidden.to(painted.dtype)
    error = (painted - pictures.float()).square().mean(1, keepdim=True)  # [M, 1, H, W]
    return (error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def random_regions(pictures: Tensor, share: float) -> Tensor:
    """Regions of random shape that cover a share of each of ``[M, 3, H, W]``: ``[M, 1, H, W]`` bool (section 3.3).

    Coarse random values are enlarged; the lowest are hidden.
    """
    height, width = pictures.shape[-2:]
    coarse = [max(3, math.ceil(COARSE * side)) for side in (height, width)]
    values = torch.rand(len(pictures), 1, *coarse, device=pictures.device)
    smooth = F.interpolate(values, size=(height, width), mode="bicubic")
    count = max(1, round(share * height * width))
    limit = smooth.flatten(1).kthvalue(count, 1).values
    return smooth <= limit[:, None, None, None]
