"""Losses that several methods share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.methods.distributed import gathered


def info_nce(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """NT-Xent: each vector must find its partner among all others of both views (SimCLR, equation 1).

    Args:
        first: ``[B, D]`` one view, any length.
        second: ``[B, D]`` the other view, row by row the partner of ``first``.
        temperature: by which cosine similarities are divided.

    Returns:
        The loss; ``[B]`` whether each row of ``first`` is nearest to its partner among all other vectors, those of
        other processes included; ``[B]`` the chance of that, one over their number.
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # [2 B, D]
    every, offset = gathered(views)  # [world 2 B, D], where this rank's rows begin
    logits = views @ every.T / temperature  # [2 B, world 2 B]
    rows = torch.arange(len(views), device=views.device)
    logits[rows, rows + offset] = -torch.inf  # itself
    target = (rows + len(first)) % len(views) + offset
    nearest = logits.argmax(1) == target
    chance = torch.full((len(first),), 1 / (len(every) - 1), device=views.device)
    return F.cross_entropy(logits, target), nearest[: len(first)].float(), chance


def contrastive(distance: Tensor, chosen: Tensor, together: bool, margin: float) -> Tensor:
    """One side of the contrastive loss (Hadsell, Chopra & LeCun, CVPR 2006; AVTS, equation 1), over chosen pairs.

    Args:
        distance: of each pair.
        chosen: which pairs count, of the same shape.
        together: pairs belong together and cost the square of their distance; others cost the square of what they lack
            to the margin.
        margin: distance at which a pair that doesn't belong together is far enough.

    Returns:
        The mean cost of the chosen pairs; 0 where there are none.
    """
    cost = distance.square() if together else (margin - distance).clamp(min=0).square()
    return (cost * chosen).sum() / chosen.sum().clamp(min=1)
