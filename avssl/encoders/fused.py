"""A network over video and sound together."""

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

    The maps of a `Waveform` network are pooled to the frame rate of the first stage of an `R3D`, repeated over space,
    concatenated with its maps and reduced by a 1 x 1 x 1 convolution; the other stages see both. D is 8 x width, T' =
    T / 8. Without sound (`maps`, transfer to silent video) the sound features are zero, as in the paper's vision-only
    experiments (section 5).

    Args:
        width: channels of the first layers of both streams.
        rate: sampling rate in Hz.
        differences: take differences between frames as input, not frames (`VideoResNet`).
    """

    def __init__(self, width: int = 64, rate: int = 16000, differences: bool = False) -> None:
        super().__init__(8 * width, {"width": width, "rate": rate, "differences": differences})
        self.video, self.audio = R3D(width, differences), Waveform(width, rate)
        self.min_clip = self.video.min_clip
        self.join = Conv3d(width + self.audio.num_features, width, 1, bias=False)
        self.norm = nn.BatchNorm3d(width)

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self._maps(clips, None)

    def fused(self, clips: Tensor, sounds: Tensor) -> Tensor:
        """Return the maps ``[B * K, D, T', H', W']`` of normalised clips ``[B, T, 3, H, W]`` with K sounds each.

        Sounds ``[B * K, S]`` (float mono in [-1, 1], clip by clip) are as long as the clips. The video stage before the
        fusion runs once per clip.
        """
        return self._maps(clips, self.audio.maps(sounds))

    def _maps(self, clips: Tensor, heard: Tensor | None) -> Tensor:
        self.check_clips(clips)  # here, so that errors name this network, not its video stream
        net = self.video.net
        seen = net.layer1(net.stem(self.video.channels_first(clips)))  # [B, C, T, H', W']
        # the convolution over both is the sum of one over each: the sound need not be repeated over space
        pictures, sounds = self.join.weight.split([seen.shape[1], self.audio.num_features], 1)
        both = F.conv3d(seen, pictures, self.join.bias)
        if heard is not None:
            heard = F.conv1d(F.adaptive_avg_pool1d(heard, seen.shape[2]), sounds[..., 0, 0])  # [B K, C, T]
            both = (both[:, None] + heard.unflatten(0, (len(clips), -1))[..., None, None]).flatten(0, 1)
        both = both.contiguous(memory_format=torch.channels_last_3d)
        return net.layer4(net.layer3(net.layer2(F.relu(self.norm(both)))))
