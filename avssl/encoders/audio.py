"""Audio networks: two over log-mel spectrograms, one over raw samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from avssl.encoders.base import AudioEncoder
from avssl.encoders.spectrogram import LogMel, Masks

MEAN, STD = -7.0, 4.0  # approximate, of log-mel values over speech and the synthetic world; a fixed scale


class SpectrogramEncoder(AudioEncoder):
    """Base of the spectrogram networks: a scaled log-mel spectrogram, masked in training."""

    def __init__(self, num_features: int, width: int, rate: int, bands: int, mask: float, **config: int) -> None:
        mel = LogMel(rate, bands)
        super().__init__(
            num_features, {**config, "width": width, "rate": rate, "bands": bands, "mask": mask}, rate, mel.min_samples
        )
        self.mel, self.masks = mel, Masks(mask)

    def spectrogram(self, sound: Tensor) -> Tensor:
        """Return spectrograms ``[B, F, T]`` of ``[B, S]``, with mean near 0 and standard deviation near 1."""
        self.check_sound(sound)
        return self.masks((self.mel(sound) - MEAN) / STD)

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        return self.spectral_maps(sound).mean(2)  # [B, D, T']


class VGG(SpectrogramEncoder):
    """VGG-like network over log-mel (Hershey et al., ICASSP 2017; Korbar et al., NeurIPS 2018), with batch norm.

    Four blocks of two 3 x 3 convolutions, the first three followed by 2 x 2 max pooling; maps are averaged over bands.
    One step of the maps is 80 ms. D is 8 x width.

    Args:
        width: channels of the first block (VGG: 64).
        rate: sampling rate in Hz.
        bands: bands of the log-mel spectrogram.
        mask: largest share of bands and of time masked in training, see `Masks`.
    """

    def __init__(self, width: int = 64, rate: int = 16000, bands: int = 64, mask: float = 0.0) -> None:
        super().__init__(8 * width, width, rate, bands, mask)
        layers: list[nn.Module] = []
        before = 1
        for block in range(4):
            after = width * 2**block
            for channels in (before, after):
                layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2, ceil_mode=True)] if block < 3 else []
            before = after
        self.net = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def spectral_maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        return self.net(self.spectrogram(sound)[:, None])


class AudioResNet(SpectrogramEncoder):
    """ResNet over log-mel, with the spectrogram as a grey image (Hershey et al., ICASSP 2017).

    Torchvision's network (`avssl.encoders.ResNet`), so its weights fit at width 64; maps are averaged over bands. One
    step of the maps is 320 ms. D is 8 x width, or 32 x width at depth 50.

    Args:
        depth: 18 or 50.
        width: channels of the first layer, a multiple of 8.
        rate: sampling rate in Hz.
        bands: bands of the log-mel spectrogram.
        mask: largest share of bands and of time masked in training, see `Masks`.
    """

    def __init__(self, depth: int = 18, width: int = 64, rate: int = 16000, bands: int = 64, mask: float = 0.0) -> None:
        from avssl.encoders.video import ResNet  # needs torchvision, unlike the other audio encoders

        net = ResNet(depth, width)
        super().__init__(net.num_features, width, rate, bands, mask, depth=depth)
        self.net = net

    def spectral_maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        image = self.spectrogram(sound)[:, None, None].expand(-1, 1, 3, -1, -1)  # [B, 1, 3, F, T]
        return self.net.maps(image).squeeze(2)


class Waveform(AudioEncoder):
    """Convolutions over raw samples (Owens & Efros, ECCV 2018, section 3 and figure 2).

    Samples are companded, sign(x) log(1 + 255 |x|) / log 256, so that quiet sound counts. A convolution over 65 samples
    with stride 4 and max pooling by 4 is followed by three convolutions over 15 steps, two of them with stride 4. One
    step of the maps is 256 samples (16 ms at 16 kHz). D is 4 x width.

    The authors' blocks are residual, their sound is stereo at 21 kHz, and their third block keeps 128 channels.

    Args:
        width: channels of the first layer (the paper: 64).
        rate: sampling rate in Hz.
    """

    def __init__(self, width: int = 64, rate: int = 16000) -> None:
        super().__init__(4 * width, {"width": width, "rate": rate}, rate, min_samples=256)
        layers: list[nn.Module] = []
        for before, after, kernel, stride in (
            (1, width, 65, 4),
            (width, 2 * width, 15, 4),
            (2 * width, 2 * width, 15, 4),
            (2 * width, 4 * width, 15, 1),
        ):
            layers += [
                nn.Conv1d(before, after, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm1d(after),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool1d(4)] if before == 1 else []
        self.net = nn.Sequential(*layers)

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        self.check_sound(sound)
        companded = sound.sign() * torch.log1p(255 * sound.abs()) / math.log(256)
        return self.net(companded[:, None])  # [B, D, T']
