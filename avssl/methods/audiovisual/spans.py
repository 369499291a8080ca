"""Spans of moments that are hidden, and what takes their place, for masked prediction over time.

No step waits for the device: the number of spans of a clip depends on its length alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


def count_of(share: float, span: int, length: int) -> int:
    """Return how many spans, if none overlapped, would hide a share of ``length`` moments; at least one."""
    return max(1, round(share * length / span))


def draw_starts(clips: int, count: int, span: int, length: int, device: torch.device) -> Tensor:
    """Draw ``count`` different first moments ``[B, count]`` of spans, for each clip by itself; spans may overlap."""
    return torch.rand(clips, length - span + 1, device=device).argsort(1)[:, :count]


def covered(starts: Tensor, span: int, length: int) -> Tensor:
    """Return whether each of ``length`` moments lies in a span, ``[B, T]`` bool, for first moments ``[B, count]``."""
    place = torch.arange(length, device=starts.device)[:, None]
    within = (place >= starts[:, None]) & (place < starts[:, None] + span)  # [B, T, count]
    return within.any(2)


def substitutes(starts: Tensor, span: int, length: int) -> Tensor:
    """Draw for each span another one of the same clip, whose moments take its place (AV-HuBERT, section 3.3).

    The other span is drawn uniformly among those that do not overlap it. Where spans overlap, the later column of
    ``starts`` counts.

    Args:
        starts: ``[B, count]`` first moments.
        span: moments of a span; there is another for any if it is no longer than ``(length + 1) / 3``.
        length: moments of a clip (T).

    Returns:
        ``[B, T]`` the moment that is shown at each moment: itself outside the spans.
    """
    before = (starts - span + 1).clamp(min=0)  # spans that end before this one starts
    after = (length - 2 * span - starts + 1).clamp(min=0)
    number = (torch.rand(starts.shape, device=starts.device) * (before + after)).long()
    other = torch.where(number < before, number, starts + span + number - before)  # [B, count]
    place = torch.arange(length, device=starts.device)
    shown = place.expand(len(starts), -1)
    for first, instead in zip(starts.T[..., None], other.T[..., None], strict=True):  # [B, 1]
        shown = torch.where((place >= first) & (place < first + span), instead + place - first, shown)
    return shown
