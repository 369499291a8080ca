"""Changing the rate of sound: a windowed sinc, applied as one matrix product."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_CROSSINGS = 16  # zero crossings of the sinc on each side
_CUTOFF = 0.94  # of the lower Nyquist frequency
_BLOCK = 128  # at least this many output samples a row of the product


def resample(sound: Tensor, source: int, rate: int) -> Tensor:
    """``[S]`` float32 at another rate, the first sample at the same instant, zeros assumed outside.

    Between rates whose ratio has no denominator under 1000, the clock is off by at most one part in a million.

    Args:
        sound: ``[S]`` float32.
        source: its samples a second.
        rate: samples a second of the result.

    Returns:
        ``[ceil(S * rate / source)]`` float32.
    """
    if source == rate:
        return sound
    ratio = Fraction(source, rate).limit_denominator(1000)
    scale = -(-_BLOCK // ratio.denominator)
    step, block = ratio.numerator * scale, ratio.denominator * scale  # samples in and out of one row
    kernel, reach = _kernel(step, block)
    count = -(-len(sound) * block // step)
    rows = -(-count // block)
    padded = torch.zeros((rows - 1) * step + len(kernel))
    padded[reach : reach + len(sound)] = sound[: len(padded) - reach]
    windows = padded.unfold(0, len(kernel), step)  # [rows, K]
    return (windows @ kernel).flatten()[:count]  # [rows, block] -> [count]


@lru_cache(maxsize=16)
def _kernel(step: int, block: int) -> tuple[Tensor, int]:
    """``[K, block]``: the weight of each input sample of a row in each output sample; and how far K reaches back."""
    width = min(1.0, block / step) * _CUTOFF  # cycles a sample, relative to the input's Nyquist frequency
    reach = int(np.ceil(_CROSSINGS / width))
    place = np.arange(-reach, step + reach + 1)[:, None]  # [K, 1] of input samples, from the row's first
    away = (place - np.arange(block) * step / block) * width  # [K, block] in zero crossings
    window = np.where(np.abs(away) < _CROSSINGS, np.cos(np.pi * away / (2 * _CROSSINGS)) ** 2, 0.0)
    kernel = width * np.sinc(away) * window
    return torch.from_numpy((kernel / kernel.sum(axis=0)).astype(np.float32)), reach
