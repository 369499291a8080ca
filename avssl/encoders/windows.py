"""Small networks whose maps see a short window each: of pictures and of sound, for synchrony on little hardware.

Nothing is padded in time, so what a map sees doesn't depend on where its window lies, and all windows of a clip cost
little more than one.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.audio import SpectrogramEncoder
from avssl.encoders.base import Encoder
from avssl.runtime.checks import check_ranges

PLACES = 3  # rows and columns of a frame's last maps that stay apart


class FrameWindows(Encoder):
    """Convolutions over grey frames, and one over the vectors of a few consecutive frames.

    Three strided convolutions map each frame to a vector that keeps a grid of 3 x 3 places; map t combines those of
    frames t to t + window - 1. T' = T - window + 1. The kernels over time begin with zero mean: the untrained network
    sees change, not what is static. A twentieth of the work of `EarlyFusion` at the same width, as frames are shared by
    the windows that they lie in.

    Args:
        width: channels of the first layer; D is 8 x width.
        window: frames that a map sees (SyncNet: 5, 0.2 s).
    """

    def __init__(self, width: int = 16, window: int = 5) -> None:
        check_ranges("FrameWindows", {"width": width, "window": window}, width="[1, inf)", window="[1, inf)")
        super().__init__(8 * width, {"width": width, "window": window})
        self.window, self.min_clip = window, (window, 16, 16)
        layers: list[nn.Module] = []
        for before, after, kernel, stride in ((1, width, 7, 4), (width, 2 * width, 3, 2), (2 * width, 4 * width, 3, 2)):
            layers += [
                nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.net = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # a third of the time on processors
        self.reduce = nn.Linear(4 * width * PLACES**2, 8 * width)
        mixing = nn.Conv1d(8 * width, 8 * width, window, bias=False)
        with torch.no_grad():
            mixing.weight -= mixing.weight.mean(2, keepdim=True)
        self.mix = nn.Sequential(mixing, nn.BatchNorm1d(8 * width), nn.ReLU())

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        self.check_clips(clips)
        grey = rearrange(clips.mean(2), "b t h w -> (b t) 1 h w")
        vectors = self.reduce(F.adaptive_avg_pool2d(self.net(grey), PLACES).flatten(1))
        found = self.mix(rearrange(vectors, "(b t) d -> b d t", b=len(clips)))  # [B, D, T']
        return found[..., None, None]


class SoundWindows(SpectrogramEncoder):
    """Convolutions over time of a log-mel spectrogram, whose bands are channels.

    Without padding: a map sees 0.14 s of sound, and the next begins `hop` seconds later. D is 2 x width.

    Args:
        width: channels of the first layers.
        rate: sampling rate in Hz.
        bands: bands of the log-mel spectrogram.
        mask: largest share of bands and of time masked in training, see `Masks`.
    """

    hop = 0.02

    def __init__(self, width: int = 64, rate: int = 16000, bands: int = 40, mask: float = 0.0) -> None:
        super().__init__(2 * width, width, rate, bands, mask)
        layers: list[nn.Module] = []
        for before, after, kernel, stride in ((bands, width, 5, 1), (width, width, 3, 2), (width, 2 * width, 3, 1)):
            layers += [nn.Conv1d(before, after, kernel, stride, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.min_samples += 10 * self.mel.hop

    def maps(self, sound: Tensor) -> Tensor:  # noqa: D102
        return self.net(self.spectrogram(sound))  # [B, D, T']

    def steps(self, samples: int) -> int:
        """Return how many maps (T') so many samples give."""
        columns = 1 + (samples - self.mel.min_samples) // self.mel.hop
        return (columns - 4 - 3) // 2 - 1
