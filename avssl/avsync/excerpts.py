"""Excerpts: recordings that show and sound what a part of another one does, encoded in another way.

Sound is compared by the hash of J. Haitsma and T. Kalker (2002), A Highly Robust Audio Fingerprinting System, ISMIR:
the signs of the differences of energy between neighbouring bands and moments. Where two recordings share sound, their
pictures are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avssl.avsync.likeness import level

HOP, WINDOW = 0.025, 0.37  # seconds; the hop of the paper is half as long
LOW, HIGH, BANDS = 300.0, 2000.0, 33  # Hz, and bands, evenly spaced in logarithm; 32 differences
FLOOR = 1e-6  # mean power below which a moment is silent and has no hash
SHORTEST = 3.0  # seconds of common sound
ERRORS = 0.3  # largest share of bits that differ, of 0.5 by chance (paper: 0.35 for 3.3 s)
VOTES = 3  # equal hashes that make an offset worth a look
COMMON = 64  # moments that share a hash, from which it says nothing
PICTURES = 4  # least number of common pictures, half a second apart
DIFFERENCE = (
    6.0  # largest median difference of those, in grey levels of 255 less the mean level: they may be 0.25 s apart
)
SILENT = np.uint32(0)


class Excerpt(NamedTuple):
    """Sound and pictures that two recordings share."""

    first: int  # place of one recording
    second: int
    offset: float  # seconds of the second's time, less the first's
    seconds: float  # how long


def hashes_of(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return ``[N]`` uint32 hashes of sound, 40 per second; 0 where it is silent.

    Args:
        samples: ``[S]`` mono.
        rate: samples per second.
    """
    wide, hop = round(WINDOW * rate), round(HOP * rate)
    count = (len(samples) - wide) // hop + 1
    if count < 2:
        return np.zeros(0, np.uint32)
    window = np.hanning(wide).astype(np.float32)
    edges = np.searchsorted(np.fft.rfftfreq(wide, 1 / rate), np.geomspace(LOW, HIGH, BANDS + 1))
    powers = np.empty((count, BANDS))
    for place in range(count):
        part = samples[place * hop : place * hop + wide]
        spectrum = np.abs(np.fft.rfft(part * window)) ** 2
        powers[place] = np.add.reduceat(spectrum, edges[:-1])
    steps = np.diff(powers, axis=1)  # [N, 32]
    bits = np.diff(steps, axis=0, prepend=steps[:1]) > 0
    hashes = np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32)
    loud = np.array([np.mean(samples[n * hop : n * hop + wide] ** 2) for n in range(count)]) > FLOOR
    return np.where(loud, hashes, SILENT)


def shared(hashes: Sequence[np.ndarray], glimpses: Sequence[np.ndarray]) -> list[Excerpt]:
    """Return what recordings share with others, by pairs.

    Args:
        hashes: of each recording, `hashes_of`.
        glimpses: ``[G, 64]`` grey levels of each recording's first half seconds.
    """
    found = []
    for (first, second), offsets in _candidates(hashes).items():
        for offset in offsets:
            begin = max(0, offset)  # moment of the second recording
            length = min(len(hashes[second]), len(hashes[first]) + offset) - begin
            one, two = hashes[first][begin - offset :][:length], hashes[second][begin : begin + length]
            heard = (one != SILENT) & (two != SILENT)
            if heard.sum() * HOP < SHORTEST:
                continue
            errors = np.unpackbits((one[heard] ^ two[heard]).view(np.uint8)).mean()
            if errors <= ERRORS and _seen(glimpses[first], glimpses[second], offset * HOP):
                found.append(Excerpt(first, second, offset * HOP, length * HOP))
                break
    return found


def _candidates(hashes: Sequence[np.ndarray]) -> dict[tuple[int, int], list[int]]:
    """Return the offsets, in moments, at which pairs of recordings have some equal hashes, most frequent first."""
    values = np.concatenate([np.zeros(0, np.uint32), *hashes])
    whose = np.repeat(np.arange(len(hashes)), [len(own) for own in hashes])
    when = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(own)) for own in hashes)])
    group, count = np.unique(values, return_inverse=True, return_counts=True)[1:]
    order = np.flatnonzero((values != SILENT) & (count[group] > 1) & (count[group] <= COMMON))
    order = order[np.argsort(values[order], kind="stable")]  # equal hashes follow one another, in order of recordings
    parts = [np.zeros((0, 3), np.int64)]
    for step in range(1, COMMON):
        one, two = order[:-step], order[step:]
        both = (values[one] == values[two]) & (whose[one] != whose[two])
        if not (values[one] == values[two]).any():
            break
        one, two = one[both], two[both]
        parts.append(np.column_stack([whose[one], whose[two], when[two] - when[one]]))
    pairs, votes = np.unique(np.concatenate(parts), axis=0, return_counts=True)  # [P, 3], [P]
    number = {tuple(pair): int(own) for pair, own in zip(pairs.tolist(), votes, strict=True)}
    found: dict[tuple[int, int], list[int]] = {}
    for first, second, offset in sorted(number, key=lambda pair: (-number[pair], pair)):
        if sum(number.get((first, second, offset + step), 0) for step in (-1, 0, 1)) >= VOTES:
            found.setdefault((first, second), []).append(offset)
    return found


def _seen(one: np.ndarray, two: np.ndarray, offset: float) -> bool:
    """Return whether pictures half a second apart are alike where the second recording is ``offset`` seconds later."""
    places = np.arange(len(one))
    others = np.round(places + 2 * offset).astype(int)
    both = (others >= 0) & (others < len(two))
    if both.sum() < PICTURES:
        return False
    first, second = (level(part.astype(np.float32)) for part in (one[places[both]], two[others[both]]))
    return bool(np.median(np.abs(first - second).mean(axis=1)) <= DIFFERENCE)
