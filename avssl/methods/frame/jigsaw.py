"""Jigsaw puzzles.

M. Noroozi, P. Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles. ECCV 2016.
https://arxiv.org/abs/1603.09246
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.frame.patches import TilePuzzle, encode_patches, reorder
from avssl.methods.losses import classification


class Jigsaw(TilePuzzle):
    """Predict the permutation of nine shuffled tiles of a frame.

    A frame is cut into 3 x 3 cells, and a tile out of each. The tiles are shuffled by one of a set of permutations that
    differ from one another in as many positions as possible (section 4.1, algorithm 1; `distant_permutations`), which
    is the class to predict. Tiles pass separately through the encoder and one layer, and together through a second one
    (the context-free network of section 3, figure 3). As a tile's features don't depend on its position, one frame
    yields several puzzles at the cost of one (the paper: 69 per image on average). `cut_puzzle` removes low-level cues
    (section 4.2); the paper also makes 30 % of the images grey: ``grey`` of the transform.

    Metric: ``accuracy`` over the permutations; chance is 1 over their number.

    Args:
        encoder: frame encoder, applied to each tile.
        permutations: size of the set (the paper's best: 1000).
        puzzles: puzzles per frame.
        tile: side of a tile as a fraction of its cell's (paper: 64 of 75 pixels).
        shift: largest shift of a channel in pixels (paper: 2).
        width: size of the layer over a tile's vector (fc6).
        hidden: size of the layer over all nine (fc7).
        grid: tiles per row and per column, 2 or 3.
    """

    orders: Tensor

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        permutations: int = 1000,
        puzzles: int = 16,
        tile: float = 64 / 75,
        shift: int = 2,
        width: int = 512,
        hidden: int = 4096,
        grid: int = 3,
    ) -> None:
        super().__init__(encoder, sampler, puzzles, tile, shift, width, hidden, grid, permutations)
        self.register_buffer("orders", distant_permutations(grid**2, permutations).clone(), persistent=False)
        self.caption = f"which of {permutations} orders of {grid**2} tiles"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N·T·puzzles puzzles."""
        target, scores = self._predict(self.tiles(clips), self.puzzles)
        return classification(scores.flatten(0, 1), target.flatten(), clips)

    def _predict(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """Draw permutations ``[M, K]`` of ``[M, n, 3, h, w]`` ordered tiles, and score all, ``[M, K, P]``."""
        parts = self.head.part(encode_patches(self.encoder, tiles))  # [M, n, width]
        drawn = torch.randint(len(self.orders), (len(parts), puzzles), device=parts.device)
        return drawn, self.head(reorder(parts, self.orders[drawn]))

    def solve(self, tiles: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        drawn, scores = self._predict(tiles, 1)
        return self.orders[drawn], self.orders[scores.argmax(2)]


@cache
def distant_permutations(items: int, count: int) -> Tensor:
    """Choose permutations greedily that differ from one another in many positions (algorithm 1), deterministically.

    The first is the identity (the paper draws it); each next one has the largest sum of Hamming distances to those
    before it. Ties are broken by the largest minimal distance, then by lexicographic order.

    Returns ``[count, n]`` int64: which item comes first, second, ... There are n items, at most 9,
    and at most n! permutations.
    """
    if items > 9:
        raise ValueError(f"permutations of at most 9 items can be enumerated, got {items}")
    every = torch.zeros(1, 0, dtype=torch.uint8)
    for length in range(1, items + 1):  # a first item, and the rest in an order of one item less
        first = torch.arange(length, dtype=torch.uint8).repeat_interleave(len(every))[:, None]
        rest = every.repeat(length, 1)
        every = torch.cat([first, rest + (rest >= first)], 1)  # [length!, length], lexicographic
    if not 0 < count <= len(every):
        raise ValueError(f"there are {len(every)} permutations of {items} items, {count} were asked for")
    places = every.T.contiguous()  # [n, n!]: comparing one position at a time is ten times faster
    total, least = torch.zeros(len(every), dtype=torch.int32), torch.full((len(every),), items, dtype=torch.uint8)
    chosen = [0]
    while len(chosen) < count:
        distance = torch.zeros_like(least)
        for place, item in zip(places, every[chosen[-1]], strict=True):
            distance += place != item
        total += distance
        torch.minimum(least, distance, out=least)
        score = torch.add(least, total, alpha=items + 1)
        score[chosen] = -1
        chosen.append(int(score.argmax()))
    return every[chosen].long()
