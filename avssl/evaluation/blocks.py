"""Rows of a bank in blocks on a device, so that memory does not grow with the number of videos."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from avssl.evaluation.readout import Bank

NUMBERS = 16_000_000  # float32 numbers of a block with what is computed from it
LARGE = 5_000_000_000  # numbers of a bank, or products of a step of a read-out, from which blocks are used
SPREAD = 1e-6  # least deviation of a feature that counts, as a share of its mean


def is_large(bank: Bank, outputs: int = 50) -> bool:
    """Decide whether read-outs work by blocks: where features lie on disk, or are many for so many outputs."""
    stored = not isinstance(bank.features, np.ndarray) or isinstance(bank.features, np.memmap)
    return stored or math.prod(bank.features.shape) * outputs > LARGE


def blocks(bank: Bank, rows: Sequence[int], width: int = 0) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield the positions of some videos and their features ``[B * M, D]``, float32 on the bank's device.

    ``width`` is how many numbers are computed of each view, beside its D features; the more, the smaller the blocks.
    """
    views, features = bank.features.shape[1:]
    size = max(1, NUMBERS // (views * (features + width)))
    places = np.asarray(rows)
    for start in range(0, len(places), size):
        block = places[start : start + size]
        found = np.asarray(bank.features[_as_slice(block)], dtype=np.float32)  # [B, M, D]
        yield block, torch.from_numpy(found).flatten(0, 1).to(bank.device)


def _as_slice(block: np.ndarray) -> slice | list[int]:
    """Return rows that follow each other as a slice, which is read at once."""
    first, last = int(block[0]), int(block[-1])
    follow = last - first + 1 == len(block) and bool((np.diff(block) == 1).all())
    return slice(first, last + 1) if follow else block.tolist()


class Scale:
    """Mean and deviation of the features of some videos; a feature that does not vary is left at zero."""

    def __init__(self, bank: Bank, rows: Sequence[int]) -> None:
        count, shift = 0, torch.zeros(())
        total = square = torch.zeros((), dtype=torch.float64, device=bank.device)
        for _, x in blocks(bank, rows):
            if not count:
                shift = x.mean(0)
            moved = (x - shift).double()
            count += len(x)
            total = total + moved.sum(0)
            square = square + moved.square().sum(0)
        away = total / count
        self.mean = (shift + away).float()
        deviation = (square / count - away.square()).clamp_min(0).sqrt().float()
        self.std = torch.where(deviation > SPREAD * (self.mean.abs() + 1e-12), deviation, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        """Standardise ``[N, D]``."""
        return (x - self.mean) / self.std
