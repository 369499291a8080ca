"""Patches of single frames: cutting, encoding and drawing, batched on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.disguise import random_crops, shift_channels
from avssl.methods.heads import LateFusion

FLAT = 0.02  # added to the standard deviation of a tile: about one of 256 levels of a normalised picture


def cut_windows(pictures: Tensor, grid: int, size: Sequence[int], step: Sequence[int]) -> Tensor:
    """Cut a centred regular grid of windows out of ``[M, 3, H, W]``: ``[M, grid, grid, 3, h, w]``.

    ``size`` (h, w) of a window and ``step`` (down, across) from one to the next are in pixels.
    """
    for axis, (length, apart) in enumerate(zip(size, step, strict=True), start=2):
        whole = (grid - 1) * apart + length
        pictures = pictures.narrow(axis, (pictures.shape[axis] - whole) // 2, whole)
    return rearrange(pictures.unfold(2, size[0], step[0]).unfold(3, size[1], step[1]), "m c i j h w -> m i j c h w")


def cut_tiles(pictures: Tensor, grid: int, side: float, room: float) -> Tensor:
    """Divide ``[M, 3, H, W]`` into cells, and cut a tile around the centre of each: ``[M, grid * grid, 3, h, w]``.

    The mean gap between neighbouring tiles is what a tile lacks to its cell; its random position is the jitter. Both
    are needed: without a gap, lines continue from tile to tile; without jitter, they do so across a known gap.

    ``side`` is a tile's side and ``room`` the range of its position, as fractions of the cell's, at most 1 together.
    """
    cell = [length // grid for length in pictures.shape[-2:]]
    size = [max(1, round(side * length)) for length in cell]
    within = [min(length, least + round(room * length)) for length, least in zip(cell, size, strict=True)]
    loose = cut_windows(pictures, grid, within, cell).flatten(0, 2)  # [M grid grid, 3, h', w']
    return random_crops(loose, *size).unflatten(0, (-1, grid**2))


def cut_puzzle(pictures: Tensor, grid: int, side: float, shift: int) -> Tensor:
    """Cut the tiles of a jigsaw puzzle so that they share no low-level cue (Noroozi & Favaro, ECCV 2016, section 4.2).

    Each tile lies anywhere in its cell, its channels are shifted against each other by up to ``shift`` pixels (a tile
    loses twice as many), and each channel of each tile is standardised by itself. Shapes are as in `cut_tiles`.
    """
    shifted = shift_channels(cut_tiles(pictures, grid, side, 1 - side).flatten(0, 1), shift)
    return standardise_channels(shifted).unflatten(0, (-1, grid**2))


def standardise_channels(pictures: Tensor) -> Tensor:
    """Scale each channel of each of ``[..., 3, h, w]`` to mean 0 and standard deviation 1; flat ones stay flat."""
    mean = pictures.mean((-2, -1), keepdim=True)
    return (pictures - mean) / (pictures.std((-2, -1), correction=0, keepdim=True) + FLAT)


def encode_patches(encoder: Encoder, patches: Tensor) -> Tensor:
    """Encode each of ``[..., 3, h, w]`` patches as a picture of its own, ``[..., D]``."""
    return encoder(patches.flatten(0, -4)[:, None]).unflatten(0, patches.shape[:-3])


def mosaic(patches: Tensor) -> Tensor:
    """Assemble ``[M, g * g, 3, h, w]`` patches into one picture, ``[M, 1, 3, g h, g w]``."""
    return rearrange(patches, "m (i j) c h w -> m 1 c (i h) (j w)", i=round(patches.shape[1] ** 0.5))


def draw_patches(patches: Tensor, clips: Clips) -> Tensor:
    """Return normalised ``[B N T, K, 3, h, w]`` patches as RGB ``[B, N, T K, 3, h, w]`` for `Method.pictures`."""
    return clips.denormalise(patches).unflatten(0, clips.video.shape[:3]).flatten(2, 3)


def reorder(parts: Tensor, orders: Tensor) -> Tensor:
    """Put ``[M, n, ...]`` parts in each of the orders ``[M, K, n]`` of part numbers: ``[M, K, n, ...]``."""
    return parts[torch.arange(len(parts), device=parts.device)[:, None, None], orders]


class TilePuzzle(Method):
    """A pretext task on the shuffled tiles of frames; its arguments are those of `Jigsaw`, and the head's outputs."""

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None,
        puzzles: int,
        tile: float,
        shift: int,
        width: int,
        hidden: int,
        grid: int,
        out: int,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
        self.grid, self.tile, self.shift, self.puzzles = grid, tile, shift, puzzles
        self.head = LateFusion(encoder.num_features, grid**2, width, hidden, out)

    def tiles(self, clips: Clips) -> Tensor:
        """Cut the tiles of each of B·N·T frames, ``[M, n, 3, h, w]``."""
        return cut_puzzle(clips.video.flatten(0, 2), self.grid, self.tile, self.shift)

    def solve(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one puzzle per frame and solve it: the true and the predicted order, ``[M, 1, n]`` each."""
        raise NotImplementedError

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return a puzzle of each frame, and the network's solution."""
        tiles = self.tiles(clips)
        order, answer = self.solve(tiles)
        shown = reorder(tiles, order)[:, 0]
        solved = reorder(shown, answer.argsort(2))[:, 0]
        return {"shown": draw_patches(mosaic(shown), clips), "solved": draw_patches(mosaic(solved), clips)}
