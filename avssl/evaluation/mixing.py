"""Mixing of training clips and their targets in pairs: mixup and cutmix."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avssl.data.changes import sent
from avssl.evaluation.budget import Tuning


def targets(labels: Tensor, classes: int) -> Tensor:
    """Return float32 ``[B, K]`` targets of labels: one class ``[B]``, or ``[B, K]`` of which the positive are shown."""
    return (functional.one_hot(labels.long(), classes) if labels.ndim == 1 else labels > 0).float()


def mixed(clips: Tensor, wanted: Tensor, recipe: Tuning, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix each clip of a batch with its neighbour, 0 with 1, 2 with 3 and so on, and their targets likewise.

    A whole batch is mixed in the same way, as VideoMAE fine-tunes; an odd last clip stays. In mixup (Zhang et al., ICLR
    2018, equation 1) pixels and targets are weighted by L and 1 - L, where L is drawn from a beta distribution. In
    cutmix (Yun et al., ICCV 2019, section 3.1) a box of 1 - L of the area comes from the neighbour, in all frames;
    where the border cuts it, targets are weighted by what is left.

    Args:
        clips: ``[B, R, T, 3, H, W]`` float; each sample of a clip is mixed with the same one of its neighbour.
        wanted: ``[B, K]`` targets.
        recipe: ``mixup``, ``cutmix``, ``switch`` and ``mix``.
        rng: draws what is done; nothing waits for the device of the clips.
    """
    made = bool(rng.random() < recipe.mix)
    cut = recipe.cutmix > 0 and (recipe.mixup == 0 or bool(rng.random() < recipe.switch))
    strength = recipe.cutmix if cut else recipe.mixup
    if not made or strength == 0:
        return clips, wanted
    kept = float(rng.beta(strength, strength))
    order = torch.arange(len(clips)) ^ 1
    order[order == len(clips)] -= 1
    order = sent(order, clips.device)
    other = clips.index_select(0, order)
    if cut:
        height, width = clips.shape[-2:]
        box, kept = _box(height, width, kept, rng)
        clips = clips.clone()
        clips[..., box[0], box[1]] = other[..., box[0], box[1]]
    else:
        clips = kept * clips + (1 - kept) * other
    return clips, kept * wanted + (1 - kept) * wanted.index_select(0, order)


def _box(height: int, width: int, kept: float, rng: np.random.Generator) -> tuple[tuple[slice, slice], float]:
    """Draw a box of ``1 - kept`` of the area about any place; return it and the share outside what lies inside."""
    side = (1 - kept) ** 0.5
    sides = []
    for length in (height, width):
        middle, half = int(rng.integers(length)), int(length * side) // 2
        sides.append(slice(max(0, middle - half), min(length, middle + half)))
    down, across = sides
    inside = (down.stop - down.start) * (across.stop - across.start)
    return (down, across), 1 - inside / (height * width)
