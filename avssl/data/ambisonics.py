"""First-order ambisonics: spectra, turns, and where the sound comes from.

The four channels are W, Y, Z and X (ACN), without gain over W (SN3D): a sound from a direction is W times its unit
vector, left, up and ahead. A panorama is equirectangular, with ahead in its middle and left on its left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

WINDOW = 0.025  # seconds of an STFT's window, which overlap by half (Morgado et al., NeurIPS 2018, section 4.2)
QUIET = 1e-3  # share of the loudest moment's power below which a moment has no direction


def spectra(sound: Tensor, rate: int) -> Tensor:
    """Return the STFT ``[..., F, T]`` complex of samples ``[..., S]``, float32 even under autocast.

    Nothing is padded; there are 1 + (S - window) // hop windows of 25 ms.
    """
    window = round(WINDOW * rate)
    shape = torch.hann_window(window, device=sound.device)
    flat = sound.float().flatten(0, -2)
    found = torch.stft(flat, window, window // 2, window, shape, center=False, return_complex=True)
    return found.unflatten(0, sound.shape[:-1])


def samples(spectrum: Tensor, length: int, rate: int) -> Tensor:
    """Invert `spectra`: ``[..., F, T]`` to ``[..., length]``; the first and last hop, half covered, fade to silence."""
    window = round(WINDOW * rate)
    hop = window // 2
    shape = torch.hann_window(window, device=spectrum.device)
    pieces = torch.fft.irfft(spectrum, n=window, dim=-2) * shape[:, None]  # [..., window, T]
    flat, count = pieces.flatten(0, -3), pieces.shape[-1]
    total = hop * (count - 1) + window
    added = torch.nn.functional.fold(flat, (1, total), (1, window), stride=(1, hop)).flatten(1)  # [M, total]
    squares = shape.square()[:, None].expand(window, count)[None]
    weight = torch.nn.functional.fold(squares, (1, total), (1, window), stride=(1, hop)).flatten()
    sound = added / weight.clamp(min=0.25)
    sound = torch.nn.functional.pad(sound, (0, max(length - total, 0)))[:, :length]
    return sound.unflatten(0, spectrum.shape[:-2])


def turned(sound: Tensor, angle: Tensor) -> Tensor:
    """Turn all sounds to the left: ``[B, ..., 4, S]`` by ``[B]`` radians."""
    w, y, z, x = sound.unbind(-2)
    shape = (-1, *[1] * (w.ndim - 1))
    cos, sin = angle.cos().view(shape).to(sound), angle.sin().view(shape).to(sound)
    return torch.stack([w, y * cos + x * sin, z, x * cos - y * sin], -2)


def rolled(pictures: Tensor, columns: Tensor) -> Tensor:
    """Turn panoramas to the left: ``[B, ..., H, W]`` by ``[B]`` whole columns."""
    width = pictures.shape[-1]
    place = (torch.arange(width, device=pictures.device) + columns[:, None]) % width  # [B, W]
    place = place.view(len(place), *[1] * (pictures.ndim - 2), width)
    return pictures.gather(-1, place.expand_as(pictures))


def rays(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return unit vectors ``[3, H, W]``, left, up and ahead, of the cells of a panorama."""
    azimuth = math.pi - 2 * math.pi * (torch.arange(width, device=device) + 0.5) / width
    elevation = (math.pi / 2 - math.pi * (torch.arange(height, device=device) + 0.5) / height)[:, None]
    flat = elevation.cos()
    return torch.stack([flat * azimuth.sin(), elevation.sin().expand(height, width), flat * azimuth.cos()])


def intensity(spectrum: Tensor) -> Tensor:
    """Return where the sound comes from ``[..., 3, T]``, left, up and ahead, of spectra ``[..., 4, F, T]``.

    It is the active intensity, summed over frequency: as long as W's power if all sound comes from one direction.
    """
    w, rest = spectrum[..., :1, :, :], spectrum[..., 1:, :, :]
    return (w.conj() * rest).real.sum(-2)


def loud(spectrum: Tensor) -> Tensor:
    """Return the moments ``[..., T]`` bool at which there is sound, of spectra ``[..., 4, F, T]``."""
    power = spectrum[..., 0, :, :].abs().square().sum(-2)  # [..., T]
    return power > QUIET * power.amax(-1, keepdim=True).clamp(min=1e-12)


def angles(predicted: Tensor, true: Tensor) -> Tensor:
    """Return degrees ``[..., T]`` between intensities ``[..., 3, T]``; 90 where one of them is nought."""
    return torch.rad2deg(torch.cosine_similarity(predicted, true, dim=-2, eps=1e-12).clamp(-1, 1).acos())


def stft_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the squared error ``[...]`` of spectra ``[..., 3, F, T]`` over that of silence, which is 1."""
    error = (predicted - true).abs().square().sum((-3, -2, -1))
    return error / true.abs().square().sum((-3, -2, -1)).clamp(min=1e-12)


def envelope_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Return the error ``[...]`` of the envelopes (Hilbert) of samples ``[..., 3, S]`` over that of silence."""
    error = (_envelopes(predicted) - _envelopes(true)).square().sum((-2, -1))
    return error / _envelopes(true).square().sum((-2, -1)).clamp(min=1e-12)


def _envelopes(sound: Tensor) -> Tensor:
    spectrum = torch.fft.fft(sound.float())
    half = torch.arange(sound.shape[-1], device=sound.device)
    spectrum = torch.where(half == 0, spectrum, torch.where(half <= sound.shape[-1] // 2, 2 * spectrum, 0))
    return torch.fft.ifft(spectrum).abs()


def energies(spectrum: Tensor, ways: Tensor) -> Tensor:
    """Return the energy ``[..., P]`` that comes from unit vectors ``[P, 3]``, of spectra ``[..., 4, F, T]``.

    A cardioid is pointed at each; what is left of its share of the sum, 1 for each in all, is returned.
    """
    heard = spectrum[..., :1, :, :] + torch.einsum("pc,...cft->...pft", ways.to(spectrum), spectrum[..., 1:, :, :])
    power = heard.abs().square().sum((-2, -1))
    return power / power.sum(-1, keepdim=True).clamp(min=1e-12)


def spread(count: int) -> Tensor:
    """Return unit vectors ``[count, 3]`` spread evenly over the sphere (a Fibonacci lattice)."""
    number = torch.arange(count) + 0.5
    up = 1 - 2 * number / count
    turn = math.pi * (3 - math.sqrt(5)) * number
    flat = (1 - up.square()).sqrt()
    return torch.stack([flat * turn.cos(), up, flat * turn.sin()], 1)
