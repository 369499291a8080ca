"""Splits of a dataset, and its test set of fixed offsets; both follow from hashes of names."""

from __future__ import annotations

import hashlib
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avssl.avsync.options import Split
from avssl.avsync.sources import Source

SPLITS = ("train", "validation", "test")


def rule_of(out: Path) -> str:
    """Return the rule of a dataset's splits: ``"within"`` or, of one built before that was written down, ``"name"``.

    The latter goes by names that begin with that of the sources' folder. What was built by it keeps it, so that no clip
    moves to another split.
    """
    try:
        before = json.loads((out / "dataset.json").read_bytes())
    except (FileNotFoundError, json.JSONDecodeError):
        return "within"
    if "splits" not in before:
        why = "its splits go by names that begin with the sources' folder, as when it was first built"
        print(f"note: {out}: {why}; build it anew elsewhere to have them go by paths within", file=sys.stderr)
    return str(before.get("splits", "name"))


def split_of(source: Source, options: Split, rule: str = "within") -> str:
    """Return the split of a source. It depends on its group's name alone, so a growing dataset keeps it.

    Without a group it depends on the path within the sources' folder, whatever that is called.
    """
    return split_of_unit(source.group if rule == "name" else source.unit, options)


def split_of_unit(unit: str, options: Split) -> str:
    """Return the split of what must not be divided, by its name."""
    place = _hash(f"split {unit}") / 2**64
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
