"""Space-time cubic puzzles.

D. Kim, D. Cho, I. S. Kweon: Self-Supervised Video Representation Learning with Space-Time Cubic Puzzles. AAAI 2019.
https://arxiv.org/abs/1811.09795
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.disguise import one_channel, random_crops

PIECES = 4


class Puzzle(NamedTuple):
    """What is shown of B clips, and what is asked.

    Attributes:
        pieces: ``[B, 4, f, 3, h, w]``.
        order: ``[B]`` which permutation the pieces are in.
        temporal: ``[B]`` bool: pieces that follow each other in time, or that lie beside each other in space.
        upside_down: ``[B]`` bool: were all pieces turned by 180 degrees?
    """

    pieces: Tensor
    order: Tensor
    temporal: Tensor
    upside_down: Tensor


class CubicPuzzles(Method):
    """In which order are four cubes of this clip, cut from one slice of it in space or along time?

    A clip is a grid of 2 x 2 x 4 cells. Half the videos of a batch pose a spatial puzzle, the 2 x 2 cells of one of the
    four moments, the other half a temporal one, the 4 cells of one of the four quarters of the picture. The pieces pass
    through one network; their vectors, put side by side, say which of 4! permutations is shown.

    Against trivial solutions: each piece is cut from its cell at a random place in space and time (jittering), so that
    edges don't continue and the time between pieces varies; all channels are replaced by one (channel replication, here
    drawn for each piece); and all pieces of a puzzle may be turned upside down, which must be told as well, by a second
    output (the paper calls it rotation with classification).

    A puzzle in space has no timestamps, so that both kinds are drawn in ``forward``, on the device.

    Metrics: ``spatial_accuracy`` and ``temporal_accuracy`` over the permutations, chance 1/24 (a video counts twice for
    the kind that it poses and not for the other, and so does its chance); ``rotation_accuracy``, chance 0.5.

    The paper cuts pieces of 80 x 80 pixels and 16 frames from clips of 224 x 224 pixels and 128 frames; here the sizes
    are shares of the cell. The outputs of the two kinds of puzzle are separate.

    Args:
        encoder: clip encoder.
        sampler: draws one clip a video; a multiple of 4 frames.
        crop: side of a piece as a share of its cell's (the paper: 80 / 112).
        duration: frames of a piece as a share of its cell's.
        replicate: channel replication.
        rotate: turn pieces upside down, and ask.
        hidden: width of the layer over the four vectors.

    Raises:
        ValueError: where a clip can't be cut into four, or a video gives several clips.
    """

    orders: Tensor
    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        crop: float = 80 / 112,
        duration: float = 0.5,
        replicate: bool = True,
        rotate: bool = True,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        self.encoder, self.crop, self.duration = encoder, crop, duration
        self.replicate, self.rotate = replicate, rotate
        self.sampler = sampler or RandomClips(frames=128, step=0.04)
        if self.sampler.frames % PIECES or self.sampler.clips != 1:
            raise ValueError(
                f"CubicPuzzles needs one clip of a multiple of {PIECES} frames, "
                f"got {self.sampler.clips} of {self.sampler.frames}"
            )
        orders = torch.tensor(list(permutations(range(PIECES))))  # [24, 4]
        self.register_buffer("orders", orders, persistent=False)
        self.head = nn.Sequential(nn.Linear(PIECES * encoder.num_features, hidden), nn.ReLU())
        self.order = nn.Linear(hidden, 2 * len(orders))
        self.turn = nn.Linear(hidden, 1) if rotate else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B puzzles."""
        puzzle = self.puzzle(clips.video[:, 0])
        vectors = self.encoder(puzzle.pieces.flatten(0, 1)).unflatten(0, (len(clips), -1))  # [B, 4, D]
        hidden = self.head(vectors.flatten(1))
        scores = self.order(hidden).float().unflatten(1, (2, -1))  # [B, 2, 24]
        rows = torch.arange(len(clips), device=scores.device)
        scores = scores[rows, puzzle.temporal.long()]  # [B, 24]
        correct = (scores.argmax(1) == puzzle.order).float()
        out = {"loss": F.cross_entropy(scores, puzzle.order)}
        for name, posed in (("spatial", ~puzzle.temporal), ("temporal", puzzle.temporal)):
            out[f"{name}_accuracy"] = 2 * posed * correct
            out[f"chance/{name}_accuracy"] = 2 * posed / len(self.orders)
        if self.turn is not None:
            score = self.turn(hidden).squeeze(1).float()
            out["loss"] = out["loss"] + F.binary_cross_entropy_with_logits(score, puzzle.upside_down.float())
            out["rotation_accuracy"] = ((score > 0) == puzzle.upside_down).float()
            out["chance/rotation_accuracy"] = torch.full((len(clips),), 0.5, device=score.device)
        return out

    def puzzle(self, video: Tensor) -> Puzzle:
        """Puzzles from ``[B, T, 3, H, W]`` clips, drawn from torch's global random numbers."""
        count, device = len(video), video.device
        rows = torch.arange(count, device=device)
        cells = grid(video)  # [B, 4 moments, 4 quarters, T / 4, 3, H / 2, W / 2]
        temporal = (rows + torch.randint(2, (), device=device)) % 2 == 1
        slices = torch.randint(PIECES, (count,), device=device)
        pieces = torch.where(
            temporal.view(-1, 1, 1, 1, 1, 1), cells[rows, :, slices], cells[rows, slices]
        )  # [B, 4, T / 4, 3, H / 2, W / 2]
        order = torch.randint(len(self.orders), (count,), device=device)
        pieces = pieces[rows[:, None], self.orders[order]].flatten(0, 1)  # [4 B, ...]
        pieces = random_spans(pieces, max(1, round(self.duration * pieces.shape[1])))
        pieces = random_crops(pieces, *(round(self.crop * side) for side in pieces.shape[-2:]))
        pieces = (one_channel(pieces) if self.replicate else pieces).unflatten(0, (count, -1))
        upside_down = torch.rand(count, device=device) < (0.5 if self.rotate else 0.0)
        pieces = torch.where(upside_down.view(-1, 1, 1, 1, 1, 1), pieces.flip(-1, -2), pieces)
        return Puzzle(pieces, order, temporal, upside_down)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Puzzles are drawn when they are posed: only the kind of task can be told."""
        return [["put four cubes in order"]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The middle frame of each piece as shown, and in its right order."""
        puzzle = self.puzzle(clips.video[:, 0])
        shown = 0.45 + 0.22 * puzzle.pieces[:, :, puzzle.pieces.shape[2] // 2]  # [B, 4, 3, h, w]
        right = torch.take_along_dim(shown, self.orders[puzzle.order].argsort(1).view(-1, PIECES, 1, 1, 1), 1)
        return {"pieces": shown[:, None], "in order": right[:, None]}


def grid(video: Tensor) -> Tensor:
    """``[B, T, 3, H, W]`` to ``[B, 4, 4, T / 4, 3, H / 2, W / 2]``: moments, and quarters of the picture row by row."""
    height, width = (side // 2 * 2 for side in video.shape[-2:])
    cells = video[..., :height, :width].unflatten(4, (2, -1)).unflatten(3, (2, -1)).unflatten(1, (PIECES, -1))
    return cells.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(2, 3)  # from [B, 4, T / 4, 3, 2, H / 2, 2, W / 2]


def random_spans(pieces: Tensor, frames: int) -> Tensor:
    """``[M, T, ...]`` to ``[M, frames, ...]``: frames in a row, from a random one on."""
    start = torch.randint(pieces.shape[1] - frames + 1, (len(pieces), 1), device=pieces.device)
    rows = torch.arange(len(pieces), device=pieces.device)[:, None]
    return pieces[rows, start + torch.arange(frames, device=pieces.device)]
