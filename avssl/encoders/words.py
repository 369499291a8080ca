"""Clips as words: the nearest of a few centres, each with a vector of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from avssl.encoders.base import Encoder
from avssl.pixels import LUMA, constants


class Words(Encoder):
    """The vector of a clip's word; T' = H' = W' = 1.

    A clip is described without learning, by the brightness of a grid of cells and by how much each changes from frame
    to frame. Its word is the nearest of some centres of such descriptions, found by whoever trains this encoder.

    Args:
        width: D, numbers of a word's vector.
        words: number of words.
        grid: cells per row and per column.

    Attributes:
        table: the words' vectors.
        centres: ``[words, 2 * grid²]``, in standardised numbers.
        mean, scale: ``[2 * grid²]``, by which descriptions are standardised.
    """

    centres: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int = 32, words: int = 64, grid: int = 4) -> None:
        super().__init__(width, {"width": width, "words": words, "grid": grid})
        self.grid = grid
        self.table = nn.Embedding(words, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        numbers = 2 * grid**2
        self.register_buffer("centres", torch.randn(words, numbers))
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))

    @torch.no_grad()
    def described(self, clips: Tensor) -> Tensor:
        """Describe clips ``[B, T, 3, H, W]``: ``[B, 2 * grid²]`` float32, not standardised."""
        self.check_clips(clips)
        grey = (clips.float() * constants(LUMA, clips.float()).view(3, 1, 1)).sum(2)  # [B, T, H, W]
        change = grey.diff(dim=1).abs().mean(1) if grey.shape[1] > 1 else torch.zeros_like(grey[:, 0])
        both = torch.stack([grey.mean(1), change], 1)  # [B, 2, H, W]
        return adaptive_avg_pool2d(both, self.grid).flatten(1)

    def words_of(self, clips: Tensor) -> Tensor:
        """Return the words ``[B]`` of clips ``[B, T, 3, H, W]``, numbers from 0."""
        standard = (self.described(clips) - self.mean) / self.scale
        with torch.autocast(clips.device.type, enabled=False):
            return torch.cdist(standard, self.centres).argmin(1)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        vectors: Tensor = self.table(self.words_of(clips))
        return vectors[:, :, None, None, None]
