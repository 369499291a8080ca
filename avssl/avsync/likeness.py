"""Copies of a recording that were encoded in another way: they show and sound the same, but no byte is equal."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from avssl.avsync.observe import Observed
from avssl.avsync.store import Record

PARTS = 64  # of a recording, in each of which sound is measured
MOMENTS = 16  # pictures compared
APART = 0.02  # of the duration, by which that of a copy may differ, and 0.1 s
SOUND = 0.98  # least correlation of the loudness of two copies
PICTURE = 1.5  # largest difference of copies' pictures, in grey levels of 255: median of moments, less the mean level
AT_ONCE = 512  # rows compared with all others of about their duration
_FLOOR = 1e-3  # of full scale: loudness below it is silence


def likeness_of(glimpses: str, observed: Observed) -> str:
    """Return what a recording looks and sounds like, as text: `MOMENTS` pictures of 8 x 8, and `PARTS` loudnesses.

    Args:
        glimpses: ``[G, 8, 8]`` uint8 in base 64, the pictures of its first half seconds.
        observed: its measurements.
    """
    pictures = np.frombuffer(base64.b64decode(glimpses), np.uint8).reshape(-1, 64)
    chosen = pictures[np.linspace(0, len(pictures) - 1, MOMENTS).round().astype(int)]  # [M, 64]
    edges = np.linspace(0, len(observed.loudness), PARTS + 1).astype(int)
    loud = observed.loudness  # [L]
    parts = [loud[a : max(b, a + 1)].mean() if len(loud) else 0.0 for a, b in pairwise(edges)]  # as codecs smear peaks
    level = np.log10(np.maximum(parts, _FLOOR)) / -np.log10(_FLOOR) + 1  # [PARTS] 0 to 1
    sound = (255 * np.clip(level, 0, 1)).round().astype(np.uint8)
    return base64.b64encode(chosen.tobytes() + sound.tobytes()).decode()


def copies(outcomes: Sequence[Record]) -> dict[int, int]:
    """Return the place of each source that is a copy of an earlier one, with the place of that one.

    Two recordings of about the same duration are copies if their loudness rises and falls alike and their pictures
    hardly differ. So are a recording and its copy of another size, rate, codec or quality; different takes of one
    scene, or the same words said again, are not.

    Args:
        outcomes: of the sources; those without ``likeness`` are left out.
    """
    places = [place for place, outcome in enumerate(outcomes) if outcome.get("likeness")]
    if len(places) < 2:
        return {}
    places.sort(key=lambda place: (outcomes[place]["seconds"], place))
    seconds = np.array([outcomes[place]["seconds"] for place in places])
    data = np.stack([np.frombuffer(base64.b64decode(outcomes[place]["likeness"]), np.uint8) for place in places])
    sound = level(data[:, 64 * MOMENTS :].astype(np.float32))
    sound /= np.maximum(np.linalg.norm(sound, axis=1, keepdims=True), 1e-6)
    stops = np.searchsorted(seconds, seconds * (1 + APART) + 0.1, side="right")
    found: dict[int, int] = {}
    for start in range(0, len(places), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(places)))
        alike = sound[rows] @ sound[start : stops[rows[-1]]].T >= SOUND
        for row, other in zip(*np.nonzero(alike), strict=True):
            one, two = start + row, start + other
            if one < two < stops[one] and _seen_alike(data[one], data[two]):
                early, late = sorted((places[one], places[two]))
                found[late] = min(early, found.get(late, early))
    return {place: _first(place, found) for place in sorted(found)}


def _first(place: int, found: dict[int, int]) -> int:
    while place in found:
        place = found[place]
    return place


def level(values: np.ndarray) -> np.ndarray:
    """Return values less their mean along the last axis."""
    return values - values.mean(axis=-1, keepdims=True)


def _seen_alike(one: np.ndarray, two: np.ndarray) -> bool:
    first, second = (level(each[: 64 * MOMENTS].astype(np.float32).reshape(MOMENTS, 64)) for each in (one, two))
    return bool(np.median(np.abs(first - second).mean(axis=1)) <= PICTURE)
