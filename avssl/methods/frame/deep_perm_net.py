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
from avssl.methods.frame.patches import drawn, frames, mosaic, puzzle, shuffled, vectors
from avssl.methods.heads import LateFusion


class DeepPermNet(Method):
    """Where does each of these nine tiles belong?

    Tiles are shuffled by any of the n! permutations, not by one of a set, and the permutation itself is predicted, as a
    matrix (section 3): the encoder and one layer see each tile, one layer all of them side by side; n x n scores are
    made doubly stochastic by `sinkhorn`, and compared with the true permutation matrix by cross-entropy. To solve a
    puzzle, the permutation with the largest total score is sought (section 3.4; by an assignment solver, `assigned`).

    Against trivial solutions, tiles are cut and standardised as in `Jigsaw`; as there, one frame poses several puzzles.

    Metric: ``accuracy``, the share of tiles that the assignment puts where they belong; chance is 1/n.

    Args:
        encoder: frame encoder; sees tiles one by one.
        sampler: draws the frames.
        puzzles: posed by one frame.
        iterations: of the Sinkhorn layer.
        tile: side of a tile as a share of its cell's (64 of 75 pixels).
        shift: pixels by which channels are shifted either way.
        width: of the layer over a tile's vector (fc6).
        hidden: width of the layer over all tiles (fc7).
        grid: tiles in a row and in a column.
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

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over B·N·T·puzzles puzzles."""
        order, scores = self._answers(puzzle(frames(clips), self.grid, self.tile, self.shift), self.puzzles)
        right = sinkhorn(scores, self.iterations).gather(3, order[..., None])  # [M, K, n, 1]
        return {
            "loss": -right.mean(),
            "accuracy": per_video_mean((assigned(scores) == order).float().mean(2), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / self.grid**2, device=scores.device),
        }

    def _answers(self, tiles: Tensor, puzzles: int) -> tuple[Tensor, Tensor]:
        """``[M, n, 3, h, w]`` tiles to orders ``[M, K, n]``, drawn, and (tile, place) scores ``[M, K, n, n]``."""
        parts = self.head.part(vectors(self.encoder, tiles))  # [M, n, width]
        order = torch.rand(len(parts), puzzles, parts.shape[1], device=parts.device).argsort(2)
        return order, self.head(shuffled(parts, order)).unflatten(2, (parts.shape[1], -1))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Puzzles are drawn when they are posed: only the kind of task can be told."""
        return [[f"the place of each of {self.grid**2} tiles"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """A puzzle of each frame, and how the network solves it."""
        tiles = puzzle(frames(clips), self.grid, self.tile, self.shift)
        order, scores = self._answers(tiles, 1)
        shown = shuffled(tiles, order)[:, 0]
        solved = shuffled(shown, assigned(scores).argsort(2))[:, 0]
        return {"shown": drawn(mosaic(shown), clips), "solved": drawn(mosaic(solved), clips)}


def sinkhorn(scores: Tensor, iterations: int) -> Tensor:
    """Makes rows and columns of the scores' exponentials sum to one, in turns (section 3.2, equations 6 and 7).

    Args:
        scores: ``[..., n, n]`` float32, any numbers: the paper asks for positive ones, here they are exponents.
        iterations: of both steps; the columns come last and are exact.

    Returns:
        ``[..., n, n]`` the logarithm of a matrix that is the nearer to doubly stochastic the more iterations there are.
    """
    for _ in range(iterations):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return scores


def assigned(scores: Tensor) -> Tensor:
    """``[..., n, n]`` scores of tiles in places to ``[..., n]``: the place of each tile, all of them different."""
    matrices = scores.detach().flatten(0, -3).cpu().numpy()
    places = [torch.from_numpy(linear_sum_assignment(matrix, maximize=True)[1]) for matrix in matrices]
    return torch.stack(places).view(scores.shape[:-1]).to(scores.device)
