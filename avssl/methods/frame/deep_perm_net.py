"""Visual permutation learning (DeepPermNet).

R. Santa Cruz, B. Fernando, A. Cherian, S. Gould: DeepPermNet: Visual Permutation Learning. CVPR 2017.
https://arxiv.org/abs/1704.02729
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
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
        self.caption = f"the place of each of {grid**2} tiles"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N·T·puzzles puzzles."""
        order, scores = self._predict(self.tiles(clips), self.puzzles)
        log_likelihood = sinkhorn(scores, self.iterations).gather(3, order[..., None])  # [M, K, n, 1]
        right = (solve_assignment(scores) == order).float().mean(2)  # [M, K]
        return measured(clips, -log_likelihood.mean(), accuracy=(right, 1 / self.grid**2))

    def _predict(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """Draw orders ``[M, K, n]`` of ``[M, n, 3, h, w]`` tiles, and score (tile, place), ``[M, K, n, n]``."""
        parts = self.head.part(encode_patches(self.encoder, tiles))  # [M, n, width]
        order = torch.rand(len(parts), puzzles, parts.shape[1], device=parts.device).argsort(2)
        return order, self.head(reorder(parts, order)).unflatten(2, (parts.shape[1], -1))

    def solve(self, tiles: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        order, scores = self._predict(tiles, 1)
        return order, solve_assignment(scores)


def sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Normalise rows and columns of the scores' exponentials to sum 1, in turns (section 3.2, equations 6 and 7).

    Scores ``[..., n, n]`` have any sign: the paper requires positive entries, here they are exponents. Returns the log
    of a matrix that approaches a doubly stochastic one with more iterations; its columns are exact.
    """
    for _ in range(iterations):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores


def solve_assignment(scores: Tensor) -> Tensor:
    """Assign tiles to different places with the largest total of ``[..., n, n]`` scores: ``[..., n]`` place of each."""
    matrices = scores.detach().flatten(0, -3).cpu().numpy()
    places = [torch.from_numpy(linear_sum_assignment(matrix, maximize=True)[1]) for matrix in matrices]
    return torch.stack(places).view(scores.shape[:-1]).to(scores.device)
