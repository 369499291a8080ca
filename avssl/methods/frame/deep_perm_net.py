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
from avssl.methods.base import Method, per_video_mean
from avssl.methods.frame.patches import cut_puzzle, draw_patches, encode_patches, mosaic, reorder
from avssl.methods.heads import LateFusion


class DeepPermNet(Method):
    """Predict the permutation matrix of nine shuffled tiles of a frame.

    Tiles are shuffled by any of the n! permutations, and the permutation itself is predicted, as a matrix (section 3):
    the encoder and one layer see each tile, one layer sees all of them; n x n scores are made doubly stochastic by
    `sinkhorn` and compared with the true permutation matrix by cross-entropy. A puzzle is solved by the permutation
    with the largest total score (section 3.4; an assignment problem, `solve_assignment`).

    Against trivial solutions, tiles are cut and standardised as in `Jigsaw`, with several puzzles per frame as well.

    Metric: ``accuracy``, the fraction of tiles that the assignment puts where they belong; chance is 1/n.

    Args:
        encoder: frame encoder, applied to each tile.
        sampler: draws the frames.
        puzzles: puzzles per frame.
        iterations: iterations of the Sinkhorn layer.
        tile: side of a tile as a fraction of its cell's (64 of 75 pixels).
        shift: largest shift of a channel in pixels.
        width: size of the layer over a tile's vector (fc6).
        hidden: size of the layer over all tiles (fc7).
        grid: tiles per row and per column.
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
        super().__init__()
        self.encoder, self.grid, self.tile, self.shift = encoder, grid, tile, shift
        self.puzzles, self.iterations = puzzles, iterations
        self.sampler = sampler or RandomClips(clips=4, num_frames=1)
        self.head = LateFusion(encoder.num_features, grid**2, width, hidden, grid**4)
        self.caption = f"the place of each of {grid**2} tiles"

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B·N·T·puzzles puzzles."""
        tiles = cut_puzzle(clips.video.flatten(0, 2), self.grid, self.tile, self.shift)
        order, scores = self._predict(tiles, self.puzzles)
        log_likelihood = sinkhorn(scores, self.iterations).gather(3, order[..., None])  # [M, K, n, 1]
        return {
            "loss": -log_likelihood.mean(),
            "accuracy": per_video_mean((solve_assignment(scores) == order).float().mean(2), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / self.grid**2, device=scores.device),
        }

    def _predict(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """Draw orders ``[M, K, n]`` of ``[M, n, 3, h, w]`` tiles, and score (tile, place), ``[M, K, n, n]``."""
        parts = self.head.part(encode_patches(self.encoder, tiles))  # [M, n, width]
        order = torch.rand(len(parts), puzzles, parts.shape[1], device=parts.device).argsort(2)
        return order, self.head(reorder(parts, order)).unflatten(2, (parts.shape[1], -1))

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return a puzzle of each frame, and the network's solution."""
        tiles = cut_puzzle(clips.video.flatten(0, 2), self.grid, self.tile, self.shift)
        order, scores = self._predict(tiles, 1)
        shown = reorder(tiles, order)[:, 0]
        solved = reorder(shown, solve_assignment(scores).argsort(2))[:, 0]
        return {"shown": draw_patches(mosaic(shown), clips), "solved": draw_patches(mosaic(solved), clips)}


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
