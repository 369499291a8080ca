"""Visual permutation learning (DeepPermNet).

R. Santa Cruz, B. Fernando, A. Cherian, S. Gould: DeepPermNet: Visual Permutation Learning. CVPR 2017.
https://arxiv.org/abs/1704.02729
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import measured
from avssl.methods.frame.patches import TilePuzzle, encode_patches, reorder


class DeepPermNet(TilePuzzle):
    """Predict the permutation matrix of nine shuffled tiles of a frame.

    Tiles are shuffled by any of the n! permutations, and the permutation itself is predicted, as a matrix (section 3):
    the encoder and one layer see each tile, one layer sees all of them; n x n scores are made doubly stochastic by
    `sinkhorn` and compared with the true permutation matrix by cross-entropy. A puzzle is solved by the permutation
    with the largest total score (section 3.4; an assignment problem, `solve_assignment`).

    Against trivial solutions, tiles are cut and standardised as in `Jigsaw`, with several puzzles per frame as well.

    Metric: ``accuracy``, the fraction of tiles that the assignment puts where they belong; chance is 1/n.

    Args:
        encoder: frame encoder, applied to each tile.
        iterations: iterations of the Sinkhorn layer.
        puzzles, tile, shift, width, hidden, grid: see `Jigsaw`.
    """

    subsets: Tensor

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        puzzles: int = 16,
        iterations: int = 10,
        tile: float = 64 / 75,
        shift: int = 2,
        width: int = 512,
        hidden: int = 4096,
        grid: int = 3,
    ) -> None:
        super().__init__(encoder, sampler, puzzles, tile, shift, width, hidden, grid, grid**4)
        self.iterations = iterations
        self.register_buffer("subsets", subset_table(grid**2), persistent=False)
        self.caption = f"the place of each of {grid**2} tiles"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N·T·puzzles puzzles."""
        order, scores = self._predict(self.tiles(clips), self.puzzles)
        log_likelihood = sinkhorn(scores, self.iterations).gather(3, order[..., None])  # [M, K, n, 1]
        right = (solve_assignment(scores, self.subsets) == order).float().mean(2)  # [M, K]
        return measured(clips, -log_likelihood.mean(), accuracy=(right, 1 / self.grid**2))

    def _predict(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """Draw orders ``[M, K, n]`` of ``[M, n, 3, h, w]`` tiles, and score (tile, place), ``[M, K, n, n]``."""
        parts = self.head.part(encode_patches(self.encoder, tiles))  # [M, n, width]
        order = torch.rand(len(parts), puzzles, parts.shape[1], device=parts.device).argsort(2)
        return order, self.head(reorder(parts, order)).unflatten(2, (parts.shape[1], -1))

    def solve(self, tiles: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        order, scores = self._predict(tiles, 1)
        return order, solve_assignment(scores, self.subsets)


def sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Normalise rows and columns of the scores' exponentials to sum 1, in turns (section 3.2, equations 6 and 7).

    Scores ``[..., n, n]`` have any sign: the paper requires positive entries, here they are exponents. Returns the log
    of a matrix that approaches a doubly stochastic one with more iterations; its columns are exact.
    """
    for _ in range(iterations):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores


def subset_table(items: int) -> Tensor:
    """Return for each subset of ``items`` things, in order of size, the rows of the subsets that lack one of them.

    The table is ``[2^n, n]`` int64, -1 for a thing that isn't in the subset; row 0 is the empty set. There are as many
    rows of each size as Pascal's triangle says.

    Raises:
        ValueError: for more than 16 things, whose subsets are too many.
    """
    if items > 16:
        raise ValueError(f"DeepPermNet: {items} tiles have too many subsets to be assigned: method.grid is at most 4")
    sets = [frozenset(chosen) for size in range(items + 1) for chosen in combinations(range(items), size)]
    rows = {chosen: row for row, chosen in enumerate(sets)}
    lacking = [[rows[chosen - {one}] if one in chosen else -1 for one in range(items)] for chosen in sets]
    return torch.tensor(lacking)


def solve_assignment(scores: Tensor, subsets: Tensor) -> Tensor:
    """Assign tiles to different places with the largest total of ``[..., n, n]`` scores: ``[..., n]`` place of each.

    Dynamic programming, in a fixed number of steps on the device: the best total of the first k tiles, for each set of
    k places, follows from those of the first k - 1. ``subsets`` is the `subset_table` of n.
    """
    matrices = scores.detach().float().flatten(0, -3)  # [M, n, n]
    count = matrices.shape[1]
    best = matrices.new_zeros(len(matrices), 1)  # [M, subsets of this size], for the empty set
    last: list[Tensor] = []  # for each size and subset, the place of the last tile
    begin, end = 0, 1
    for tile in range(count):
        rows = subsets[end : end + comb(count, tile + 1)]  # [S, n]
        before = (rows - begin).clamp(min=0)
        total = torch.where(rows >= 0, best[:, before] + matrices[:, tile, None], -torch.inf)  # [M, S, n]
        best, place = total.max(2)
        last.append(place)
        begin, end = end, end + len(rows)
    places = []
    which = torch.zeros_like(last[-1][:, 0])  # [M], row of the subset among those of its size
    for tile in reversed(range(count)):
        place = last[tile].gather(1, which[:, None])[:, 0]
        places.append(place)
        begin = sum(comb(count, size) for size in range(tile))
        which = subsets[begin + comb(count, tile) :][which, place] - begin
    return torch.stack(places[::-1], 1).view(scores.shape[:-1])
