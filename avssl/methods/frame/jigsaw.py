"""Jigsaw puzzles.

M. Noroozi, P. Favaro: Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles. ECCV 2016.
https://arxiv.org/abs/1603.09246
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, per_video_mean
from avssl.methods.frame.patches import drawn, frames, mosaic, puzzle, shuffled, vectors
from avssl.methods.heads import LateFusion


class Jigsaw(Method):
    """In which order do these nine tiles lie?

    A frame is cut into 3 x 3 cells, and a tile out of each. The tiles are shuffled by one of a set of permutations that
    differ from one another in as many places as possible (section 4.1, algorithm 1; `distant_permutations`); which one
    is the class to tell. Tiles pass one by one through the encoder and one layer, and meet in a second one (the
    context-free network of section 3, figure 3). As a tile's features don't depend on its place, one frame poses
    several puzzles for the price of one (the paper: 69 for each image on average).

    Against trivial solutions (section 4.2): each tile lies anywhere in its cell, so that lines don't go on; each
    channel of each tile is standardised, so that brightness and colours that change evenly over a picture don't order
    tiles; channels are shifted against each other, so that the fringes of a lens tell nothing. The paper also makes
    30 % of the images grey: ``grey`` of the transform. Several permutations of each picture keep a tile from being
    tied to a place.

    Metric: ``accuracy`` over the permutations; chance is 1 over their number.

    Args:
        encoder: frame encoder; sees tiles one by one.
        sampler: draws the frames.
        permutations: size of the set (the paper's best: 1000).
        puzzles: posed by one frame.
        tile: side of a tile as a share of its cell's (the paper: 64 of 75 pixels).
        shift: pixels by which channels are shifted either way (the paper: 2).
        width: of the layer over a tile's vector (fc6).
        hidden: width of the layer over all nine (fc7).
        grid: tiles in a row and in a column, 2 or 3.
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
        super().__init__()
        self.encoder, self.grid, self.tile, self.shift, self.puzzles = encoder, grid, tile, shift, puzzles
        self.sampler = sampler or RandomClips(clips=4, num_frames=1)
        self.register_buffer("orders", distant_permutations(grid**2, permutations).clone(), persistent=False)
        self.head = LateFusion(encoder.num_features, grid**2, width, hidden, permutations)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B·N·T·puzzles puzzles."""
        which, scores = self._answers(puzzle(frames(clips), self.grid, self.tile, self.shift), self.puzzles)
        return {
            "loss": F.cross_entropy(scores.flatten(0, 1), which.flatten()),
            "accuracy": per_video_mean((scores.argmax(2) == which).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / len(self.orders), device=scores.device),
        }

    def _answers(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """Tiles ``[M, n, 3, h, w]`` in order to permutations ``[M, K]``, drawn, and their scores ``[M, K, P]``."""
        parts = self.head.part(vectors(self.encoder, tiles))  # [M, n, width]
        which = torch.randint(len(self.orders), (len(parts), puzzles), device=parts.device)
        return which, self.head(shuffled(parts, self.orders[which]))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Puzzles are drawn when they are posed: only the kind of task can be told."""
        return [[f"which of {len(self.orders)} orders of {self.grid**2} tiles"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """A puzzle of each frame, and how the network solves it."""
        tiles = puzzle(frames(clips), self.grid, self.tile, self.shift)
        which, scores = self._answers(tiles, 1)
        shown = shuffled(tiles, self.orders[which])[:, 0]
        solved = shuffled(shown, self.orders[scores.argmax(2)].argsort(2))[:, 0]
        return {"shown": drawn(mosaic(shown), clips), "solved": drawn(mosaic(solved), clips)}


@cache
def distant_permutations(items: int, count: int) -> Tensor:
    """Permutations that differ from one another in many places, chosen one by one (algorithm 1).

    The first is the one that changes nothing (the paper draws it); each next one has the largest sum of Hamming
    distances to those before it. Among equals the one whose least distance is the largest is taken, then the first in
    lexicographic order: nothing is drawn.

    Args:
        items: n, at most 9.
        count: of the permutations, at most n!.

    Returns:
        ``[count, n]`` int64: which item comes first, second, ...

    Raises:
        ValueError: where there are fewer permutations than asked for, or too many to look through.
    """
    if items > 9:
        raise ValueError(f"permutations of at most 9 items can be looked through, got {items}")
    every = torch.zeros(1, 0, dtype=torch.uint8)
    for length in range(1, items + 1):  # a first item, and the rest in an order of one item less
        first = torch.arange(length, dtype=torch.uint8).repeat_interleave(len(every))[:, None]
        rest = every.repeat(length, 1)
        every = torch.cat([first, rest + (rest >= first)], 1)  # [length!, length], lexicographic
    if not 0 < count <= len(every):
        raise ValueError(f"there are {len(every)} permutations of {items} items, {count} were asked for")
    places = every.T.contiguous()  # [n, n!]: comparing a place at a time is ten times faster
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
