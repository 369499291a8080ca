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
from avssl.pixels import denormalise

PIECES = 4
KINDS = ("spatial", "temporal")


class Puzzles(NamedTuple):
    """What is shown of B clips, and what is asked: P puzzles in space, then P puzzles in time.

    Attributes:
        pieces: ``[B, 2, P, 4, f, 3, h, w]``.
        order: ``[B, 2, P]`` which permutation the pieces are in.
        upside_down: ``[B, 2, P]`` bool: were all pieces turned by 180 degrees?
    """

    pieces: Tensor
    order: Tensor
    upside_down: Tensor


class CubicPuzzles(Method):
    """In which order are four cubes of this clip, cut from one slice of it in space or along time?

    A clip is a grid of 2 x 2 x 4 cells. It poses puzzles in space, each of the 2 x 2 cells of one of the four moments,
    and as many in time, each of the 4 cells of one of the four quarters of the picture. The pieces pass through one
    network; their vectors, put side by side, say which of 4! permutations is shown.

    Against trivial solutions: each piece is cut from its cell at a random place in space and time (jittering), so that
    edges don't continue and the time between pieces varies; all channels of a puzzle are replaced by one of them
    (channel replication); and all pieces of a puzzle may be turned upside down, which must be told as well, by a second
    output (the paper calls it rotation with classification).

    A puzzle in space has no timestamps, so that both kinds are drawn in ``forward``, on the device.

    Metrics: ``spatial_accuracy`` and ``temporal_accuracy`` over the permutations, chance 1/24; ``rotation_accuracy``
    over all puzzles, chance 0.5.

    The paper cuts pieces of 80 x 80 pixels and 16 frames from clips of 224 x 224 pixels and 128 frames; here the sizes
    are shares of the cell. The outputs of the two kinds of puzzle are separate.

    Args:
        encoder: clip encoder.
        sampler: draws one clip a video; a multiple of 4 frames.
        crop: side of a piece as a share of its cell's (the paper: 80 / 112).
        puzzles: of each kind, posed by one clip; at most 4, each of another moment or quarter.
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
        puzzles: int = 1,
        replicate: bool = True,
        rotate: bool = True,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        self.encoder, self.crop, self.duration, self.count = encoder, crop, duration, puzzles
        self.replicate, self.rotate = replicate, rotate
        self.sampler = sampler or RandomClips(num_frames=128, step=0.04)
        if self.sampler.num_frames % PIECES or self.sampler.clips != 1:
            raise ValueError(
                f"CubicPuzzles needs one clip of a multiple of {PIECES} frames, "
                f"got {self.sampler.clips} of {self.sampler.num_frames}"
            )
        orders = torch.tensor(list(permutations(range(PIECES))))  # [24, 4]
        self.register_buffer("orders", orders, persistent=False)
        self.head = nn.Sequential(
            nn.Linear(PIECES * encoder.num_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()
        )
        self.order = nn.ModuleList(nn.Linear(hidden, len(orders)) for _ in KINDS)
        self.turn = nn.Linear(hidden, 1) if rotate else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over B·2·P puzzles."""
        puzzles = self.puzzles(clips.video[:, 0])
        vectors = self.encoder(puzzles.pieces.flatten(0, 3))  # [B 2 P 4, D]
        hidden = self.head(vectors.unflatten(0, (-1, PIECES)).flatten(1))  # [B 2 P, hidden]
        hidden = hidden.unflatten(0, puzzles.order.shape)  # [B, 2, P, hidden]
        loss = torch.zeros((), device=hidden.device)
        out: dict[str, Tensor] = {}
        for kind, (name, classifier) in enumerate(zip(KINDS, self.order, strict=True)):
            scores, order = classifier(hidden[:, kind]).float(), puzzles.order[:, kind]  # [B, P, 24], [B, P]
            loss = loss + F.cross_entropy(scores.flatten(0, 1), order.flatten()) / len(KINDS)
            out[f"{name}_accuracy"] = (scores.argmax(2) == order).float().mean(1)
            out[f"chance/{name}_accuracy"] = torch.full((len(clips),), 1 / len(self.orders), device=scores.device)
        if self.turn is not None:
            score = self.turn(hidden).squeeze(3).float()  # [B, 2, P]
            loss = loss + F.binary_cross_entropy_with_logits(score, puzzles.upside_down.float())
            out["rotation_accuracy"] = ((score > 0) == puzzles.upside_down).float().mean((1, 2))
            out["chance/rotation_accuracy"] = torch.full((len(clips),), 0.5, device=score.device)
        return {"loss": loss, **out}

    def puzzles(self, video: Tensor) -> Puzzles:
        """Puzzles of ``[B, T, 3, H, W]`` clips, drawn from torch's global random numbers."""
        shape, device = (len(video), len(KINDS), self.count), video.device
        clip = torch.arange(len(video), device=device)[:, None]
        cells = grid(video)  # [B, 4 moments, 4 quarters, T / 4, 3, H / 2, W / 2]
        moment, quarter = torch.rand(2, len(video), PIECES, device=device).argsort(2)[..., : self.count]  # [B, P] each
        pieces = torch.stack([cells[clip, moment], cells.transpose(1, 2)[clip, quarter]], 1)  # [B, 2, P, 4, T / 4, ...]
        order = torch.randint(len(self.orders), shape, device=device)
        puzzle = torch.arange(order.numel(), device=device)[:, None]
        pieces = pieces.flatten(0, 2)[puzzle, self.orders[order.flatten()]]  # [B 2 P, 4, T / 4, 3, H / 2, W / 2]
        pieces = one_channel(pieces) if self.replicate else pieces
        pieces = random_spans(pieces.flatten(0, 1), max(1, round(self.duration * pieces.shape[2])))
        pieces = random_crops(pieces, *(round(self.crop * side) for side in pieces.shape[-2:]))
        pieces = pieces.unflatten(0, (*shape, PIECES))  # [B, 2, P, 4, f, 3, h, w]
        upside_down = torch.rand(shape, device=device) < (0.5 if self.rotate else 0.0)
        pieces = torch.where(upside_down[..., None, None, None, None, None], pieces.flip(-1, -2), pieces)
        return Puzzles(pieces, order, upside_down)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Puzzles are drawn when they are posed: only the kind of task can be told."""
        return [["put four cubes in order"]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The middle frame of each piece of one puzzle of both kinds, as shown and in its right order."""
        puzzles = self.puzzles(clips.video[:, 0])
        shown = denormalise(puzzles.pieces[:, :, 0, :, puzzles.pieces.shape[4] // 2])  # [B, 2, 4, 3, h, w]
        right = self.orders[puzzles.order[:, :, 0]].argsort(2)[..., None, None, None]  # [B, 2, 4, 1, 1, 1]
        solved = torch.take_along_dim(shown, right, 2)
        drawn: dict[str, Tensor] = {}
        for kind, name in enumerate(KINDS):
            drawn |= {f"{name}, shown": shown[:, None, kind], f"{name}, solved": solved[:, None, kind]}
        return drawn


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
