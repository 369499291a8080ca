"""Splits of a dataset, and its test set of fixed offsets; both follow from hashes of names."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from avssl.avsync.options import Split

SPLITS = ("train", "validation", "test")


def split_of(group: str, options: Split) -> str:
    """Return the split of a group of sources. It depends on the group's name alone, so a growing dataset keeps it."""
    place = _hash(f"split {group}") / 2**64
    if place < options.test:
        return "test"
    return "validation" if place < options.test + options.validation else "train"


class Trial(NamedTuple):
    """A question of the fixed-offset test: is this stretch of sound in sync with this stretch of picture?"""

    clip: str  # its path
    start: float  # second at which the stretch of picture begins; that of sound begins ``offset`` earlier
    offset: float  # seconds by which the sound is late


def trials_of(clip: str, frames: int, fps: Fraction, options: Split) -> list[Trial]:
    """Return two trials of a clip, or none if it is too short for one step beside the crop.

    They pair one stretch of sound with the picture it belongs to, and with another. Draws depend on the path alone.

    Sound alone can't tell the two apart, as it is the same. Nor can the picture: an offset and its opposite are equally
    likely and every stretch lies within the clip, so each place of the picture is equally often in sync and not. No
    stretch reaches beyond the clip, so no silence at an end gives the answer away.
    """
    spare = frames - round(options.crop * fps)
    steps = [round(step * options.step * fps) for step in range(1, int(options.max_offset / options.step + 1e-6) + 1)]
    possible = [step for step in steps if 0 < step <= spare]
    if not possible:
        return []
    rng = np.random.default_rng(_hash(f"trials {clip}"))
    offset = int(rng.choice(possible)) * int(rng.choice([-1, 1]))
    sound = int(rng.integers(max(0, -offset), spare - max(0, offset) + 1))  # frame at which the sound begins
    return [Trial(clip, float(sound / fps), 0.0), Trial(clip, float((sound + offset) / fps), float(offset / fps))]


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)
