"""Space-time cubic puzzles.

D. Kim, D. Cho, I. S. Kweon: Self-Supervised Video Representation Learning with Space-Time Cubic Puzzles. AAAI 2019.
https://arxiv.org/abs/1811.09795
"""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.disguise import random_crops, replicate_channel

PIECES = 4
KINDS = ("spatial", "temporal")


class Puzzles(NamedTuple):
    """Pieces and targets for B clips: P puzzles in space, then P puzzles in time."""

    pieces: Tensor  # [B, 2, P, 4, f, 3, h, w]
    order: Tensor  # [B, 2, P] index of the permutation applied
    upside_down: Tensor  # [B, 2, P] bool, whether all pieces are rotated by 180 degrees


class CubicPuzzles(Method):
    """Predict the order of four cubes that a clip is cut into, in space or in time.

    A clip is a grid of 2 x 2 x 4 cells. A spatial puzzle consists of the 2 x 2 cells of one of the four moments, a
    temporal puzzle of the 4 cells of one of the four quarters of the image. The pieces pass through one network; their
    concatenated vectors predict which of 4! permutations is shown. Puzzles are drawn in ``forward``.

    Against shortcuts: each piece is cropped from its cell at random in space and time (jittering), so edges don't
    continue and the time between pieces varies; all channels of a puzzle are replaced by one of them (channel
    replication); and all its pieces may be upside down, which a second output detects (rotation with classification).

    Metrics: ``spatial_accuracy`` and ``temporal_accuracy``, chance 1/24; ``rotation_accuracy``, chance 0.5.

    The paper crops pieces of 80 x 80 pixels and 16 frames from clips of 224 x 224 pixels and 128 frames; here sizes are
    fractions of a cell. Spatial and temporal puzzles have separate classifiers.

    Args:
        sampler: draws one clip per video, a multiple of 4 frames.
        crop: side of a piece as a fraction of its cell's (the paper: 80 / 112).
        puzzles: puzzles of each kind per clip, from different moments or quarters; at most 4.
        duration: frames of a piece as a fraction of its cell's.
        replicate: apply channel replication.
        rotate: turn pieces upside down at random and classify it.
        hidden: width of the layer over the four vectors.
    """

    orders: Tensor
    caption = "put four cubes in order"
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
        super().__init__(encoder, sampler or RandomClips(num_frames=128, step=0.04))
        self.crop, self.duration, self.count = crop, duration, puzzles
        self.replicate, self.rotate = replicate, rotate
        if self.sampler.num_frames % PIECES or self.sampler.clips != 1:
            raise ValueError(f"CubicPuzzles needs one clip of a multiple of {PIECES} frames, got {self.sampler}")
        orders = torch.tensor(list(permutations(range(PIECES))))  # [24, 4]
        self.register_buffer("orders", orders, persistent=False)
        fused = nn.Linear(PIECES * encoder.num_features, hidden, bias=False)
        self.head = nn.Sequential(fused, nn.BatchNorm1d(hidden), nn.ReLU())
        self.order = nn.ModuleList(nn.Linear(hidden, len(orders)) for _ in KINDS)
        self.turn = nn.Linear(hidden, 1) if rotate else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·2·P puzzles."""
        puzzles = self.puzzles(clips.video[:, 0])
        vectors = self.encoder(puzzles.pieces.flatten(0, 3))  # [B 2 P 4, D]
        hidden = self.head(rearrange(vectors, "(puzzle piece) d -> puzzle (piece d)", piece=PIECES))
        hidden = hidden.unflatten(0, puzzles.order.shape)  # [B, 2, P, hidden]
        loss = torch.zeros((), device=hidden.device)
        metrics: dict[str, tuple[Tensor, float]] = {}
        for kind, (name, classifier) in enumerate(zip(KINDS, self.order, strict=True)):
            scores, order = classifier(hidden[:, kind]).float(), puzzles.order[:, kind]  # [B, P, 24], [B, P]
            loss = loss + F.cross_entropy(scores.flatten(0, 1), order.flatten()) / len(KINDS)
            metrics[f"{name}_accuracy"] = scores.argmax(2) == order, 1 / len(self.orders)
        if self.turn is not None:
            score = self.turn(hidden).squeeze(3).float()  # [B, 2, P]
            loss = loss + F.binary_cross_entropy_with_logits(score, puzzles.upside_down.float())
            metrics["rotation_accuracy"] = (score > 0) == puzzles.upside_down, 0.5
        return measured(clips, loss, **metrics)

    def puzzles(self, video: Tensor) -> Puzzles:
        """Draw puzzles from ``[B, T, 3, H, W]`` clips, with torch's global generator."""
        shape, device = (len(video), len(KINDS), self.count), video.device
        clip = torch.arange(len(video), device=device)[:, None]
        cells = grid(video)  # [B, 4 moments, 4 quarters, T / 4, 3, H / 2, W / 2]
        moment, quarter = torch.rand(2, len(video), PIECES, device=device).argsort(2)[..., : self.count]  # [B, P] each
        pieces = torch.stack([cells[clip, moment], cells.transpose(1, 2)[clip, quarter]], 1)  # [B, 2, P, 4, T / 4, ...]
        order = torch.randint(len(self.orders), shape, device=device)
        puzzle = torch.arange(order.numel(), device=device)[:, None]
        pieces = pieces.flatten(0, 2)[puzzle, self.orders[order.flatten()]]  # [B 2 P, 4, T / 4, 3, H / 2, W / 2]
        pieces = replicate_channel(pieces) if self.replicate else pieces
        pieces = random_spans(pieces.flatten(0, 1), max(1, round(self.duration * pieces.shape[2])))
        pieces = random_crops(pieces, *(round(self.crop * side) for side in pieces.shape[-2:]))
        pieces = pieces.unflatten(0, (*shape, PIECES))  # [B, 2, P, 4, f, 3, h, w]
        upside_down = torch.rand(shape, device=device) < (0.5 if self.rotate else 0.0)
        turned = rearrange(upside_down, "b kind p -> b kind p 1 1 1 1 1")
        return Puzzles(torch.where(turned, pieces.flip(-1, -2), pieces), order, upside_down)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the middle frames of one puzzle of each kind, as shown and in the correct order."""
        puzzles = self.puzzles(clips.rgb[:, 0])
        shown = puzzles.pieces[:, :, 0, :, puzzles.pieces.shape[4] // 2]  # [B, 2, 4, 3, h, w]
        right = self.orders[puzzles.order[:, :, 0]].argsort(2)[..., None, None, None]  # [B, 2, 4, 1, 1, 1]
        solved = torch.take_along_dim(shown, right, 2)
        both = {"shown": shown, "solved": solved}
        return {f"{kind}, {name}": part[:, None, n] for n, kind in enumerate(KINDS) for name, part in both.items()}


def grid(video: Tensor) -> Tensor:
    """Cut ``[B, T, 3, H, W]`` into moments and quarters, row by row: ``[B, 4, 4, T / 4, 3, H / 2, W / 2]``."""
    height, width = (side // 2 * 2 for side in video.shape[-2:])
    axes = "b (moment t) c (row h) (column w) -> b moment (row column) t c h w"
    return rearrange(video[..., :height, :width], axes, moment=PIECES, row=2, column=2)


def random_spans(pieces: Tensor, frames: int) -> Tensor:
    """Draw consecutive frames from a random start: ``[M, T, ...]`` to ``[M, frames, ...]``."""
    start = torch.randint(pieces.shape[1] - frames + 1, (len(pieces), 1), device=pieces.device)
    rows = torch.arange(len(pieces), device=pieces.device)[:, None]
    return pieces[rows, start + torch.arange(frames, device=pieces.device)]
