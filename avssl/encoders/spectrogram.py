"""What is made of sound on the device, before a network sees it: log-mel spectrograms, and masks on them."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor, nn

FLOOR = 1e-6  # power added before the logarithm: silence is -13.8, and quiet noise is no louder than it was


class LogMel(nn.Module):
    """The natural logarithm of the power in triangular bands, evenly spaced on the mel scale.

    Each column is the spectrum of one window (Hann, ``window`` seconds); columns are ``hop`` seconds apart, and column
    k begins at ``k * hop``: nothing is padded, so that no column knows where the sound ends. Bands follow HTK's mel
    scale, without normalisation of their areas. Computed in float32, also under autocast.

    Args:
        rate: samples a second.
        bands: number of bands (F).
        window: seconds of a window.
        hop: seconds from one window to the next.
        low: Hz at which the lowest band begins.
        high: Hz at which the highest band ends.
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
        self.mel = torchaudio.transforms.MelScale(bands, rate, low, min(high, rate / 2), bins // 2 + 1)
        self.spectrum = torchaudio.transforms.Spectrogram(
            bins, self.window, self.hop, power=2.0, center=False, window_fn=torch.hann_window
        )
        for name, buffer in list(self.named_buffers()):  # functions of the arguments: not part of an export
            owner, _, leaf = name.rpartition(".")
            self.get_submodule(owner).register_buffer(leaf, buffer, persistent=False)
        self.min_samples = bins

    def forward(self, sound: Tensor) -> Tensor:
        """``[..., S]`` samples in [-1, 1] to ``[..., F, T]``, T = 1 + (S - bins) // hop."""
        with torch.autocast(sound.device.type, enabled=False):
            return (self.mel(self.spectrum(sound.float())) + FLOOR).log()


class Masks(nn.Module):
    """SpecAugment (Park et al., Interspeech 2019): a stretch of bands and a stretch of time are hidden in training.

    Each spectrogram's own stretches are drawn from the global random numbers of its device: the width evenly up to
    ``share`` of the whole, then the place. What is hidden becomes the mean of the spectrogram.

    Args:
        share: largest share of the bands, and of the time, that is hidden; 0 hides nothing.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, spectrograms: Tensor) -> Tensor:
        """``[B, F, T]`` to the same; unchanged in evaluation."""
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
