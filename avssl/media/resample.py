"""Resample sound: a windowed sinc, applied as small matrix products."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np

_CROSSINGS = 16  # zero crossings of the sinc on each side
_CUTOFF = 0.94  # fraction of the lower Nyquist frequency
_BLOCK = 128  # minimum output samples per row
_GROUP = 20  # output samples per matrix product
_LIMIT = 2**17  # multiplications per product: few enough that OpenBLAS starts no threads, which would be far slower


def resample(sound: np.ndarray, source: int, rate: int) -> np.ndarray:
    """Resample sound ``[S]`` float32 from ``source`` to ``rate`` Hz, with the first sample at the same time.

    If the ratio of the rates has no denominator up to 1000, the clock is off by at most one part in a million.

    Returns:
        ``[ceil(S * rate / source)]`` float32.
    """
    if source == rate:
        return sound
    ratio = Fraction(source, rate).limit_denominator(1000)
    scale = -(-_BLOCK // ratio.denominator)
    step, block = ratio.numerator * scale, ratio.denominator * scale  # input and output samples per row
    kernels, reach = _kernels(step, block)
    count = -(-len(sound) * block // step)
    rows = -(-count // block)
    padded = np.zeros(rows * step + max(start + len(kernel) for start, _, kernel in kernels), np.float32)
    padded[reach : reach + len(sound)] = sound
    result = np.empty((rows, block), np.float32)
    for start, first, kernel in kernels:
        windows = np.lib.stride_tricks.sliding_window_view(padded[start:], len(kernel))[::step]  # [>= rows, K]
        chunk = max(1, _LIMIT // kernel.size)
        for row in range(0, rows, chunk):
            part = np.ascontiguousarray(windows[row : min(row + chunk, rows)])
            result[row : row + chunk, first : first + kernel.shape[1]] = part @ kernel
    return result.reshape(-1)[:count]


@lru_cache(maxsize=16)
def _kernels(step: int, block: int) -> tuple[list[tuple[int, int, np.ndarray]], int]:
    """Return the kernels and the padding before the first input sample.

    A kernel serves a group of a row's output samples: its first input sample (counting the padding), its first output
    sample, and ``[K, G]`` weights of the input samples in the output samples.
    """
    width = min(1.0, block / step) * _CUTOFF  # relative to the input's Nyquist frequency
    reach = int(np.ceil(_CROSSINGS / width))
    kernels = []
    for first in range(0, block, _GROUP):
        centre = np.arange(first, min(first + _GROUP, block)) * step / block  # [G] in input samples
        start = int(centre[0])
        place = np.arange(start - reach, int(centre[-1]) + reach + 2)[:, None]  # [K, 1]
        away = (place - centre) * width  # [K, G] in zero crossings
        window = np.where(np.abs(away) < _CROSSINGS, np.cos(np.pi * away / (2 * _CROSSINGS)) ** 2, 0.0)
        kernel = np.sinc(away) * window
        kernels.append((start, first, (kernel / kernel.sum(axis=0)).astype(np.float32)))
    return kernels, reach
