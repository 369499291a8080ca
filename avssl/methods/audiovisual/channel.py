"""What a microphone, a room and a line do to sound, drawn anew in training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avssl.runtime.checks import check_ranges

POINTS = 8  # of the equaliser, evenly spaced on the logarithm of frequency
LOWEST = 60.0  # Hz, of the first point
SLOPE = 24.0  # dB per octave beyond the edges of a narrow band


class Channel(nn.Module):
    """Gain, equaliser, narrow band, room and noise, drawn for each sound by the device's global generator.

    Nothing is delayed: the equaliser has no phase, and the direct sound of a room comes first and is the loudest. In
    eval mode sounds are returned unchanged.

    Args:
        gain: standard deviation of the gain, in dB.
        equaliser: standard deviation of the equaliser at its points, in dB.
        narrow: probability of a narrow band, from 100 to 500 Hz up to 2 to 6 kHz.
        room: probability of echoes.
        noise: probability of noise.
        loudest: least ratio of sound to noise, in dB; the largest is 30 dB more.
        rate: sampling rate in Hz.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        gain: float = 6.0,
        equaliser: float = 4.0,
        narrow: float = 0.2,
        room: float = 0.3,
        noise: float = 0.5,
        loudest: float = 5.0,
        rate: int = 16000,
    ) -> None:
        super().__init__()
        chances = {"narrow": narrow, "room": room, "noise": noise}
        check_ranges("Channel", chances, **dict.fromkeys(chances, "[0, 1]"))
        check_ranges("Channel", {"gain": gain, "equaliser": equaliser, "rate": rate}, gain="[0, inf)", rate="[1, inf)")
        self.gain, self.equaliser, self.narrow, self.room = gain, equaliser, narrow, room
        self.noise, self.loudest, self.rate = noise, loudest, rate

    def forward(self, sounds: Tensor) -> Tensor:
        """Change sounds ``[B, S]`` in [-1, 1]; in eval mode they are returned unchanged."""
        if not self.training:
            return sounds
        with torch.autocast(sounds.device.type, enabled=False):
            sounds = sounds.float()
            count, samples, device = len(sounds), sounds.shape[1], sounds.device
            echo = round(0.3 * self.rate)
            size = samples + echo  # a period in which echoes don't come round
            spectrum = torch.fft.rfft(sounds, size) * torch.fft.rfft(self._rooms(count, echo, device), size)
            decibels = self._response(count, spectrum.shape[1], device)
            hiss = torch.fft.rfft(torch.randn(count, samples, device=device), size)
            tone = 10 ** (self._curve(count, spectrum.shape[1], 3 * self.equaliser, device) / 20)
            heard = torch.fft.irfft(spectrum * 10 ** (decibels / 20), size)[:, :samples]
            hissing = torch.fft.irfft(hiss * tone, size)[:, :samples]
            ratio = self.loudest + 30 * torch.rand(count, 1, device=device)
            level = _loudness(heard) * 10 ** (-ratio / 20) / _loudness(hissing).clamp(min=1e-6)
            noisy = torch.rand(count, 1, device=device) < self.noise
            heard = heard + torch.where(noisy, level, 0.0) * hissing
            louder = 10 ** (self.gain * torch.randn(count, 1, device=device) / 20)
            return (heard * louder).clamp(-1, 1)

    def _rooms(self, count: int, samples: int, device: torch.device) -> Tensor:
        """Draw impulse responses ``[B, samples]``, most of them a single impulse."""
        decay = 0.03 + 0.12 * torch.rand(count, 1, device=device)  # seconds in which echoes fall to 1 / e
        time = torch.arange(samples, device=device) / self.rate
        echoes = torch.randn(count, samples, device=device) * (-time / decay).exp() * (time > 0.002)
        share = 0.5 * torch.rand(count, 1, device=device)  # of the direct sound's amplitude
        share = torch.where(torch.rand(count, 1, device=device) < self.room, share, 0.0)
        answers = share * echoes / echoes.norm(dim=1, keepdim=True)
        return torch.cat([torch.ones(count, 1, device=device), answers[:, 1:]], 1)

    def _response(self, count: int, bins: int, device: torch.device) -> Tensor:
        """Draw the gain ``[B, bins]`` of equaliser and band, in dB."""
        octaves = self._octaves(bins, device)
        edges = torch.rand(2, count, 1, device=device)
        low = math.log2(100 / LOWEST) + edges[0] * math.log2(5)
        high = math.log2(2000 / LOWEST) + edges[1] * math.log2(3)
        beyond = (low - octaves).clamp(min=0) + (octaves - high).clamp(min=0)
        narrow = torch.rand(count, 1, device=device) < self.narrow
        return self._curve(count, bins, self.equaliser, device) - torch.where(narrow, SLOPE * beyond, 0.0)

    def _curve(self, count: int, bins: int, spread: float, device: torch.device) -> Tensor:
        """Draw smooth curves ``[B, bins]`` in dB."""
        octaves = self._octaves(bins, device)
        place = (octaves / math.log2(self.rate / 2 / LOWEST)).clamp(0, 1) * (POINTS - 1)
        left = place.floor().clamp(max=POINTS - 2).long()
        values = spread * torch.randn(count, POINTS, device=device)
        return torch.lerp(values[:, left], values[:, left + 1], place - left)

    def _octaves(self, bins: int, device: torch.device) -> Tensor:
        """Return ``[bins]``, how many octaves each frequency lies above the lowest point."""
        hertz = torch.linspace(0, self.rate / 2, bins, device=device).clamp(min=1.0)
        return (hertz / LOWEST).log2()


def _loudness(sounds: Tensor) -> Tensor:
    """Return the root mean square ``[B, 1]``."""
    return sounds.square().mean(1, keepdim=True).sqrt()
