"""Statistics of sound textures, computed on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS = 32
MODULATIONS = 10  # bands of modulation
NEIGHBOURS = (1, 2, 3, 5)  # by how many bands correlated envelopes are apart
ENVELOPE_RATE = 400  # samples of an envelope per second
POWER = 0.3  # compression of envelopes
SLOWEST = 0.5  # Hz, centre of the lowest band of modulation
FASTEST = 200.0  # Hz, of the highest, at most half the envelopes' rate
WIDTH = 2.0  # quality factor of the bands of modulation
FLOOR = 1e-4  # standard deviation of a compressed envelope below which it counts as flat


class SoundTexture(nn.Module):
    """Statistics by which sound textures are recognised (McDermott & Simoncelli, Neuron 2011; Owens et al., ECCV 2016).

    A filter bank like the cochlea's splits the sound into 32 bands, evenly spaced on the scale of equivalent
    rectangular bandwidths, whose squared responses sum to one. The envelope of a band is the modulus of its analytic
    signal, to the power of 0.3, at 400 Hz. Of the envelopes are taken, in this order: the mean (32) and the standard
    deviation (32) of each; the loudness, the median over time of their Euclidean norm (1); the share of each one's
    variance in 10 bands of modulation from 0.5 to 200 Hz (320); and the correlations of envelopes 1, 2, 3 and 5 bands
    apart (117). That is 502 numbers (Owens et al., section 3.1). Computed in float32, even under autocast.

    Args:
        rate: sampling rate in Hz.
        low: lower edge of the lowest band, in Hz.
        high: upper edge of the highest band, in Hz.
    """

    num_features = 2 * BANDS + 1 + BANDS * MODULATIONS + sum(BANDS - apart for apart in NEIGHBOURS)

    def __init__(self, rate: int = 16000, low: float = 50.0, high: float = 7600.0) -> None:
        super().__init__()
        self.rate, self.low, self.high = rate, low, min(high, rate / 2)

    @property
    def groups(self) -> list[int]:
        """How many numbers there are of each kind, in their order."""
        last = self.num_features - 2 * BANDS - 1 - BANDS * MODULATIONS
        return [BANDS, BANDS, 1, BANDS * MODULATIONS, last]

    def forward(self, sound: Tensor) -> Tensor:
        """Map samples ``[M, S]`` in [-1, 1] to statistics ``[M, 502]``."""
        with torch.autocast(sound.device.type, enabled=False):
            envelopes = self.envelopes(sound.float())  # [M, 32, L]
            mean, spread = envelopes.mean(2), envelopes.std(2, correction=0)  # [M, 32]
            loudness = envelopes.norm(dim=1).median(1, keepdim=True).values  # [M, 1]
            rest = (envelopes - mean[..., None]) / spread.clamp(min=FLOOR)[..., None]
            parts = [mean, spread, loudness, self._modulation(rest).flatten(1)]
            parts += [(rest[:, apart:] * rest[:, :-apart]).mean(2) for apart in NEIGHBOURS]
        return torch.cat(parts, 1)

    def envelopes(self, sound: Tensor) -> Tensor:
        """Return the compressed envelopes ``[M, 32, L]`` at 400 Hz of samples ``[M, S]``.

        Each band is shifted down to 0 Hz, which leaves the modulus as it is, and transformed back with as few samples
        as the widest band needs.
        """
        samples = sound.shape[1]
        spectrum = torch.fft.rfft(sound) / samples  # [M, S / 2 + 1]
        hertz = torch.arange(spectrum.shape[1], device=sound.device) * (self.rate / samples)
        filters, first, length = self._filters(hertz, samples)
        bins = first[:, None] + torch.arange(length, device=sound.device)  # [32, length]
        inside = (bins >= 0) & (bins < len(hertz))
        bins = bins.clamp(0, len(hertz) - 1)
        bands = spectrum[:, bins] * (filters.gather(1, bins) * inside)  # [M, 32, length]
        analytic = 2 * length * torch.fft.ifft(bands)  # [M, 32, length], samples of the shifted band
        return F.adaptive_avg_pool1d(analytic.abs().pow(POWER), max(1, round(samples / self.rate * ENVELOPE_RATE)))

    def _filters(self, hertz: Tensor, samples: int) -> tuple[Tensor, Tensor, int]:
        """Return filters ``[32, F]``, the first bin of each ``[32]``, and how many bins the widest spans, at least."""
        edges = [_erb(self.low) + (_erb(self.high) - _erb(self.low)) * k / (BANDS + 1) for k in range(BANDS + 2)]
        spacing = edges[1] - edges[0]
        scale = 9.265 * torch.log1p(hertz / (24.7 * 9.265))  # the scale of `_erb`
        centres = torch.arange(1, BANDS + 1, device=hertz.device) * spacing + edges[0]
        away = (scale - centres[:, None]) / spacing  # [32, F]; neighbours overlap by half
        filters = torch.where(away.abs() < 1, (away * (math.pi / 2)).cos(), 0.0)
        lowest = [_hertz(edge) for edge in edges]
        first = torch.arange(BANDS, device=hertz.device)
        starts = _hertz_of(first * spacing + edges[0])
        widest = max(top - bottom for bottom, top in zip(lowest[:-2], lowest[2:], strict=True))
        length = 2 ** math.ceil(math.log2(max(widest * samples / self.rate + 2, ENVELOPE_RATE * samples / self.rate)))
        return filters, (starts * (samples / self.rate)).floor().long(), length

    def _modulation(self, rest: Tensor) -> Tensor:
        """Return the share of variance in each band of modulation ``[M, 32, 10]`` of standardised ``[M, 32, L]``."""
        count = rest.shape[2]
        spectrum = torch.fft.rfft(rest).abs().square() * (2 / count**2)  # [M, 32, L / 2 + 1], summing to the variance
        hertz = torch.arange(spectrum.shape[2], device=rest.device) * (ENVELOPE_RATE / count)
        steps = torch.arange(MODULATIONS, device=rest.device) / (MODULATIONS - 1)
        centres = SLOWEST * (FASTEST / SLOWEST) ** steps
        away = (hertz - centres[:, None]) / (centres[:, None] / WIDTH)  # [10, L / 2 + 1]
        weights = torch.where(away.abs() < 1, (away * (math.pi / 2)).cos().square(), 0.0)
        return spectrum @ weights.T


def _erb(hertz: float) -> float:
    """Return the number of equivalent rectangular bandwidths below a frequency (Glasberg & Moore, 1990)."""
    return 9.265 * math.log1p(hertz / (24.7 * 9.265))


def _hertz(erb: float) -> float:
    """Invert `_erb`."""
    return 24.7 * 9.265 * math.expm1(erb / 9.265)


def _hertz_of(erb: Tensor) -> Tensor:
    return 24.7 * 9.265 * torch.expm1(erb / 9.265)
