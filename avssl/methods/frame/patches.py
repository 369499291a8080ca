"""Patches of single frames: where they are cut out, on the device and all at once, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods.disguise import random_crops, shift_channels
from avssl.pixels import denormalise

FLAT = 0.02  # added to the standard deviation of a tile: about one of 256 steps of a standardised picture


def windows(pictures: Tensor, grid: int, size: Sequence[int], step: Sequence[int]) -> Tensor:
    """``[M, 3, H, W]`` to ``[M, grid, grid, 3, h, w]``: windows of a regular grid about the middle, row by row.

    Args:
        pictures: any size that holds the grid.
        grid: windows in a row and in a column.
        size: (h, w) of a window in pixels.
        step: pixels from one window to the next, down and across; they overlap where it is less than the size.
    """
    for axis, (length, apart) in enumerate(zip(size, step, strict=True), start=2):
        whole = (grid - 1) * apart + length
        pictures = pictures.narrow(axis, (pictures.shape[axis] - whole) // 2, whole)
    cut = pictures.unfold(2, size[0], step[0]).unfold(3, size[1], step[1])  # [M, 3, grid, grid, h, w]
    return cut.permute(0, 2, 3, 1, 4, 5)


def tiles(pictures: Tensor, grid: int, side: float, room: float) -> Tensor:
    """Cuts pictures into grid x grid equal cells, and a tile out of each at a random place about the cell's middle.

    What a tile lacks to its cell is, on average, the gap to the next one; its random place is the jitter. Both are
    needed: without a gap, lines go on from tile to tile; without jitter, they do so after a gap of known width.

    Args:
        pictures: ``[M, 3, H, W]``.
        grid: cells in a row and in a column.
        side: of a tile, as a share of its cell's.
        room: how much the places of a tile differ at most, as a share of the cell's side; at most ``1 - side``.

    Returns:
        ``[M, grid * grid, 3, h, w]``, row by row.
    """
    cell = [length // grid for length in pictures.shape[-2:]]
    size = [max(1, round(side * length)) for length in cell]
    within = [min(length, least + round(room * length)) for length, least in zip(cell, size, strict=True)]
    loose = windows(pictures, grid, within, cell).flatten(0, 2)  # [M grid grid, 3, h', w']
    return random_crops(loose, *size).unflatten(0, (-1, grid**2))


def puzzle(pictures: Tensor, grid: int, side: float, shift: int) -> Tensor:
    """The tiles of a jigsaw puzzle as Noroozi & Favaro (ECCV 2016, section 4.2) cut them: they share no low-level cue.

    Each tile lies anywhere in its cell, its channels are shifted against each other, and each channel of each tile is
    standardised by itself.

    Args:
        pictures: ``[M, 3, H, W]``.
        grid: cells in a row and in a column.
        side: of a tile before its channels are shifted, as a share of its cell's.
        shift: of a channel, in pixels either way; a tile loses twice as many.

    Returns:
        ``[M, grid * grid, 3, h, w]``, row by row.
    """
    shifted = shift_channels(tiles(pictures, grid, side, 1 - side).flatten(0, 1), shift)
    return standardised(shifted).unflatten(0, (-1, grid**2))


def standardised(pictures: Tensor) -> Tensor:
    """``[..., 3, h, w]`` with mean 0 and deviation 1 in each channel of each picture; what is flat stays flat."""
    mean = pictures.mean((-2, -1), keepdim=True)
    return (pictures - mean) / (pictures.std((-2, -1), correction=0, keepdim=True) + FLAT)


def vectors(encoder: Encoder, patches: Tensor) -> Tensor:
    """``[..., 3, h, w]`` patches to ``[..., D]``, each encoded as a picture of its own."""
    return encoder(patches.flatten(0, -4)[:, None]).unflatten(0, patches.shape[:-3])


def frames(clips: Clips) -> Tensor:
    """``[B N T, 3, H, W]``: every frame as a picture of its own."""
    return clips.video.flatten(0, 2)


def mosaic(patches: Tensor) -> Tensor:
    """``[M, g * g, 3, h, w]`` to one picture ``[M, 1, 3, g h, g w]``."""
    grid = round(patches.shape[1] ** 0.5)
    rows = patches.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5)  # [M, 3, g, h, g, w]
    return rows.flatten(4, 5).flatten(2, 3)[:, None]


def drawn(patches: Tensor, clips: Clips) -> Tensor:
    """``[B N T, K, 3, h, w]`` standardised patches as pictures ``[B, N, T K, 3, h, w]`` (see `Method.pictures`)."""
    return denormalise(patches).unflatten(0, clips.video.shape[:3]).flatten(2, 3)


def shuffled(parts: Tensor, orders: Tensor) -> Tensor:
    """``[M, n, ...]`` parts in each of the orders ``[M, K, n]`` (which part comes where): ``[M, K, n, ...]``."""
    return parts[torch.arange(len(parts), device=parts.device)[:, None, None], orders]
