"""A network over picture and sound together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.audio import Waveform
from avssl.encoders.base import Encoder
from avssl.encoders.conv import Conv3d
from avssl.encoders.video import R3D


class Fused(Encoder):
    """Early fusion (Owens & Efros, ECCV 2018, figure 2): sound joins a 3D network after its first stage.

    The maps of a `Waveform` network are brought to the frame rate of the first stage of an `R3D`, repeated over the
    picture, concatenated with its maps and reduced by a 1 x 1 x 1 convolution; the other stages see both. D is
    8 x width, T' = T / 8. Without sound (`maps`, transfer to silent pictures) its features are zero, as in the paper's
    vision-only experiments (section 5).

    Args:
        width: channels of the first layers of both streams.
        rate: samples a second.
        differences: see the differences between frames, not the frames (`VideoResNet`).
    """

    def __init__(self, width: int = 64, rate: int = 16000, differences: bool = False) -> None:
        super().__init__(8 * width, {"width": width, "rate": rate, "differences": differences})
        self.video, self.audio = R3D(width, differences), Waveform(width, rate)
        self.min_clip = self.video.min_clip
        self.fuse = nn.Sequential(
            Conv3d(width + self.audio.num_features, width, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU()
        )

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self._maps(clips, None)

    def fused(self, clips: Tensor, sound: Tensor) -> Tensor:
        """Maps of pictures with the sound of the same seconds.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.
            sound: ``[B, S]`` float mono in [-1, 1].

        Returns:
            ``[B, D, T', H', W']``.

        Raises:
            ValueError: as in `Encoder.maps` and `AudioEncoder.maps`.
        """
        return self._maps(clips, self.audio.maps(sound))

    def _maps(self, clips: Tensor, heard: Tensor | None) -> Tensor:
        self.check_clips(clips)  # here, so that what is wrong is said of this network, not of its picture stream
        net = self.video.net
        seen = net.layer1(net.stem(self.video.channels_first(clips)))
        b, _, t, h, w = seen.shape
        if heard is None:
            heard = seen.new_zeros(b, self.audio.num_features, t)
        heard = F.adaptive_avg_pool1d(heard, t)[..., None, None].expand(-1, -1, -1, h, w)  # [B, D_a, T, H', W']
        both = self.fuse(torch.cat([seen, heard.to(seen.dtype)], 1))
        return net.layer4(net.layer3(net.layer2(both)))
