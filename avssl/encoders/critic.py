"""Convolutions under spectral normalisation, as of a discriminator."""

from __future__ import annotations

from itertools import pairwise

from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from avssl.encoders.base import FrameEncoder
from avssl.encoders.conv import Conv2d

SLOPE = 0.1  # of the activation below zero


class Critic(FrameEncoder):
    """Six convolutions without batch normalisation, of spectral norm 1 (T. Miyato et al., ICLR 2018, section 2.1).

    Pictures are seen one by one, so real and drawn ones can't be told by the statistics of their batch.

    Args:
        width: channels of the first two convolutions; the others have 2, 4, 8 and 8 times as many. D is 8 x width.
    """

    def __init__(self, width: int = 64) -> None:
        if width < 1:
            raise ValueError(f"Critic: expected a width of at least 1, got {width}")
        super().__init__(8 * width, {"width": width})
        self.stem = spectral_norm(Conv2d(3, width, 3, padding=1))
        sizes = pairwise(width * times for times in (1, 1, 2, 4, 8, 8))
        self.halves = nn.ModuleList(spectral_norm(Conv2d(*pair, 3, stride=2, padding=1)) for pair in sizes)

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Channels of the maps that `stages` returns."""
        top = self.num_features
        return top // 4, top // 2, top, top

    def stages(self, clips: Tensor) -> list[Tensor]:  # noqa: D102
        self.check_clips(clips)
        maps = leaky_relu(self.stem(rearrange(clips, "b t c h w -> (b t) c h w")), SLOPE)
        found = []
        for layer in self.halves:
            maps = leaky_relu(layer(maps), SLOPE)
            found.append(maps)
        return found[1:]
