"""Log-mel spectrograms and their masks, computed on the device."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor, nn

FLOOR = 1e-6  # power added before the logarithm: silence is -13.8, and quiet noise is not amplified


class LogMel(nn.Module):
    """Natural logarithm of the power in triangular bands, evenly spaced on the mel scale.

    Each column is the spectrum of one window (Hann, ``window`` seconds), and column k begins at ``k * hop`` seconds.
    Nothing is padded, so no column reveals where the sound ends. Bands follow HTK's mel scale, without area
    normalisation. Computed in float32, even under autocast.

    Args:
        rate: sampling rate in Hz.
        bands: number of bands (F).
        window: seconds per window.
        hop: seconds from one window to the next.
        low: lower edge of the lowest band, in Hz.
        high: upper edge of the highest band, in Hz.
    """

    def __init__(
        self,
        rate: int = 16000,
        bands: int = 64,
        window: float = 0.025,
        hop: float = 0.010,
        low: float = 60.0,
        high: float = 7600.0,
    ) -> None:
        super().__init__()
        self.rate, self.bands = rate, bands
        self.window, self.hop = round(window * rate), round(hop * rate)  # samples
        bins = 1 << (self.window - 1).bit_length()
        with torch.device("cpu"):  # torchaudio looks at the values, which the meta device doesn't have
            self.mel = torchaudio.transforms.MelScale(bands, rate, low, min(high, rate / 2), bins // 2 + 1)
            self.spectrum = torchaudio.transforms.Spectrogram(
                bins, self.window, self.hop, power=2.0, center=False, window_fn=torch.hann_window
            )
        for name, buffer in list(self.named_buffers()):  # computed from the arguments: not part of an export
            owner, _, leaf = name.rpartition(".")
            self.get_submodule(owner).register_buffer(leaf, buffer, persistent=False)
        self.min_samples = bins

    def forward(self, sound: Tensor) -> Tensor:
        """Map samples ``[..., S]`` in [-1, 1] to ``[..., F, T]``, T = 1 + (S - bins) // hop."""
        with torch.autocast(sound.device.type, enabled=False):
            return (self.mel(self.spectrum(sound.float())) + FLOOR).log()


class Masks(nn.Module):
    """SpecAugment (Park et al., Interspeech 2019): masks a range of bands and a range of time in training.

    Ranges are drawn per spectrogram by the device's global generator: the width uniformly up to ``share`` of the
    whole, then the position. Masked values become the spectrogram's mean.

    Args:
        share: largest share of the bands, and of the time, that is masked; 0 masks nothing.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Mask spectrograms ``[B, F, T]``; in eval mode they are returned unchanged."""
        if not self.training or self.share == 0:
            return spectrograms
        mean = spectrograms.mean((1, 2), keepdim=True)
        hidden = self._stretch(spectrograms, 1)[:, :, None] | self._stretch(spectrograms, 2)[:, None]
        return torch.where(hidden, mean, spectrograms)

    def _stretch(self, spectrograms: Tensor, axis: int) -> Tensor:
        size = spectrograms.shape[axis]
        drawn = torch.rand(2, len(spectrograms), 1, device=spectrograms.device)
        width = (drawn[0] * (self.share * size + 1)).floor()  # [B, 1]
        begin = drawn[1] * (size - width)
        place = torch.arange(size, device=spectrograms.device) + 0.5
        return (place > begin) & (place < begin + width)  # [B, size]
