"""Which part of the dataset a source belongs to, and the test set of fixed offsets. All of it follows from hashes."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from avssl.avsync.options import Split

SPLITS = ("train", "validation", "test")


def split_of(group: str, options: Split) -> str:
    """The part that a group of sources belongs to. It depends on its name alone: a growing dataset keeps its parts."""
    place = int(hashlib.sha256(f"split {group}".encode()).hexdigest()[:16], 16) / 2**64
    if place < options.test:
        return "test"
    return "validation" if place < options.test + options.validation else "train"


class Trial(NamedTuple):
    """A question of the fixed-offset test: is this stretch of sound in sync with this stretch of picture, or how late?

    Attributes:
        clip: path of the clip.
        start: seconds at which the stretch of picture begins; that of sound begins ``offset`` earlier.
        offset: seconds by which the sound is late.
    """

    clip: str
    start: float
    offset: float


def trials_of(clip: str, frames: int, fps: Fraction, options: Split) -> list[Trial]:
    """Two trials for a clip: the same stretch of sound against the picture it belongs to, and against another.

    Sound alone can't tell the two apart, as it is the same; the picture alone can't either, as an offset and its
    opposite are equally likely and each stretch lies within the clip, so that both are found at the same places
    equally often. No stretch reaches beyond the clip, so that silence at an end gives nothing away.

    Args:
        clip: its path in the dataset; what is drawn depends on nothing else.
        frames: of the clip.
        fps: its frames a second.
        options: crop, step and largest offset.

    Returns:
        An empty list where the clip is too short for one step beside the crop.
    """
    spare = frames - round(options.crop * fps)
    steps = [round(step * options.step * fps) for step in range(1, int(options.max_offset / options.step + 1e-6) + 1)]
    possible = [step for step in steps if 0 < step <= spare]
    if not possible:
        return []
    rng = np.random.default_rng(int(hashlib.sha256(f"trials {clip}".encode()).hexdigest()[:16], 16))
    offset = int(rng.choice(possible)) * int(rng.choice([-1, 1]))
    sound = int(rng.integers(max(0, -offset), spare - max(0, offset) + 1))  # frame at which the sound begins
    return [
        Trial(clip, float(sound / fps), 0.0),
        Trial(clip, float((sound + offset) / fps), float(offset / fps)),
    ]
