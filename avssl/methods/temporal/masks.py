"""Masks of masked prediction: which tokens of a clip are seen, drawn on the clips' device for each clip.

All clips of a batch have the same numbers of visible and of masked tokens, which depend on the grid alone, so that no
step waits for the device to learn a shape.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from avssl.encoders import Encoder, TokenEncoder

ASPECT = (0.75, 1.5)  # height over width of a block (V-JEPA, section 3.2)


def token_encoder(method: str, encoder: Encoder) -> TokenEncoder:
    """Return the encoder of a method that hides tokens.

    Raises:
        ValueError: if it has no tokens, or can't be given some of them.
    """
    if not isinstance(encoder, TokenEncoder):
        raise ValueError(f"{method} hides tokens, and {type(encoder).__name__} has none: give a ViT or a HuggingFace")
    if not encoder.partial:
        raise ValueError(f"{method} hides tokens, and this {type(encoder).__name__} needs all of a clip: give a ViT")
    return encoder


def tube_mask(clips: int, grid: tuple[int, int, int], masked: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw indices of visible ``[B, V]`` and masked ``[B, M]`` tokens, the same places in every frame.

    These are the tubes of VideoMAE (section 3.2). ``grid`` counts tokens in time, height and width. At least one place
    is visible. Uses torch's global generator.
    """
    places = grid[1] * grid[2]
    order = torch.rand(clips, places, device=device).argsort(1)  # [B, H' W']
    return _tubes(order, max(1, places - round(masked * places)), grid[0])


def block_mask(
    clips: int, grid: tuple[int, int, int], count: int, share: float, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw indices of tokens outside ``[B, V]`` and inside ``[B, M]`` of blocks that last for the whole clip.

    There are ``count`` blocks in a clip, of one shape, each a ``share`` of the image, and they may overlap (V-JEPA,
    section 3.2). As many places are visible as such blocks leave on average (`visible_places`): the blocks of a clip
    grow or shrink together, by the same number of tokens on each side, until that many are left. ``grid`` counts tokens
    in time, height and width. Uses torch's global generator.
    """
    t, h, w = grid
    aspect = ASPECT[0] + (ASPECT[1] - ASPECT[0]) * torch.rand(clips, 1, 1, device=device)
    inside = []
    for size, shape in ((h, aspect), (w, 1 / aspect)):
        length = (share * h * w * shape).sqrt().round().clamp(1, size)  # [B, 1, 1]
        start = (torch.rand(clips, count, 1, device=device) * (size - length + 1)).floor()
        middle = start + (length - 1) / 2
        inside.append(length / 2 - (torch.arange(size, device=device) - middle).abs())  # [B, count, size]: depth
    depth = torch.minimum(inside[0][..., None], inside[1][:, :, None])  # [B, count, H', W'], below 0 outside
    angle = 2 * math.pi * torch.rand(clips, 1, 1, device=device)
    y, x = (torch.arange(size, device=device) for size in (h, w))
    ties = (angle.sin() * y[:, None] + angle.cos() * x) / (5 * (h + w))  # a part of a rim, not scattered places
    order = (depth.amax(1) + ties).flatten(1).argsort(1)  # depths of a block differ by halves, ties by less
    return _tubes(order, visible_places(h, w, count, share), t)


@functools.cache
def visible_places(height: int, width: int, count: int, share: float) -> int:
    """Return how many places of an image are in none of the blocks of `block_mask`, on average; at least one is."""
    left, shapes = 0.0, 16
    for step in range(shapes):
        aspect = ASPECT[0] + (ASPECT[1] - ASPECT[0]) * (step + 0.5) / shapes
        rows, columns = (
            _covered(size, min(size, max(1, round(math.sqrt(share * height * width * shape)))))
            for size, shape in ((height, aspect), (width, 1 / aspect))
        )
        left += sum((1 - row * column) ** count for row in rows for column in columns) / shapes
    return min(height * width - 1, max(1, round(left)))


def _covered(size: int, length: int) -> list[float]:
    """Return the probability that a randomly placed interval covers each place of an axis."""
    starts = size - length + 1
    return [(min(place, size - length) - max(0, place - length + 1) + 1) / starts for place in range(size)]


def _tubes(order: Tensor, kept: int, frames: int) -> tuple[Tensor, Tensor]:
    """Return the tokens of the first ``kept`` places of an order ``[B, H' W']``, and of the others, at all times."""
    times = torch.arange(frames, device=order.device)[:, None] * order.shape[1]  # [T', 1]
    visible, hidden = ((times + part[:, None]).flatten(1) for part in (order[:, :kept], order[:, kept:]))
    return visible, hidden
