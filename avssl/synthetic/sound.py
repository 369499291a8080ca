"""The sound of a scene: struck objects ring, sliding objects hiss, and the room is never quite silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ROOM = 0.0015  # standard deviation of the background noise, about -56 dB of full scale


@dataclass(frozen=True)
class Voice:
    """The sound of one object, with M modes."""

    hertz: Array  # [M] frequencies in Hz; the larger the object, the lower
    decays: Array  # [M] seconds in which a mode decays to 1/e
    shares: Array  # [M] amplitudes, summing to 1
    hiss: float  # centre frequency of its sliding noise, in Hz

    @classmethod
    def draw(cls, rng: np.random.Generator, radius: float) -> Voice:
        """Draw the voice of an object of random material and the given radius in metres."""
        ratios = np.array([1.0, 2.0, 2.9, 4.3]) * rng.uniform(0.93, 1.07, 4)
        hertz = rng.uniform(180, 420) / radius * ratios
        decays = rng.uniform(0.025, 0.09) / np.sqrt(ratios)
        shares = rng.dirichlet([4.0, 3.0, 2.0, 2.0])
        return cls(hertz, decays, shares, float(rng.uniform(500, 1800)))

    def strike(self, since: Array, rate: int) -> Array:
        """Return the sound at ``[S]`` seconds after a blow; modes too high for the sampling rate are silent."""
        heard = self.hertz < 0.45 * rate
        since = since[:, None]
        modes = np.cos(2 * np.pi * self.hertz * since) * np.exp(-since / self.decays)
        return (modes[:, heard] * self.shares[heard]).sum(-1)


def _coloured(rng: np.random.Generator, samples: int, centre: float, rate: int) -> Array:
    """Draw ``[S]`` noise of standard deviation 1, an octave wide around ``centre`` Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(samples, 1 / rate), 1) / centre)
    noise = np.fft.irfft(spectrum * np.exp(-(octaves**2)), samples)
    return noise / noise.std()


def soundtrack(
    rng: np.random.Generator, voices: list[Voice], blows: list[tuple[Array, Array]], speeds: list[Array], rate: int
) -> NDArray[np.float32]:
    """Mix the sound of a scene: ``[S]`` float32 within [-0.95, 0.95].

    Args:
        rng: random number generator of the noise.
        voices: one per object.
        blows: ``[E]`` times (seconds) and ``[E]`` levels of each object's impacts. A blow begins with the first sample
            not before its time, at its phase there, so that the onset is exact.
        speeds: ``[S]`` sliding speeds of each object at every sample, in metres per second.
        rate: sampling rate in Hz.
    """
    samples = len(speeds[0])
    mix = ROOM * rng.standard_normal(samples)
    for voice, (times, levels), speed in zip(voices, blows, speeds, strict=True):
        mix += 0.006 * np.minimum(speed, 3) * _coloured(rng, samples, voice.hiss, rate)
        for time, level in zip(times, levels, strict=True):
            first = int(np.ceil(time * rate))
            last = min(first + int(8 * voice.decays.max() * rate), samples)
            mix[first:last] += level * voice.strike(np.arange(first, last) / rate - time, rate)
    return (mix * min(1.0, 0.95 / np.abs(mix).max())).astype(np.float32)
