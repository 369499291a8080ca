"""The encoder interface: clips (or sound) to feature maps or to one vector per clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn


class Exportable(nn.Module):
    """A network that can be rebuilt from an export.

    A subclass passes on its own constructor arguments:
    ``super().__init__(num_features=8 * width, config={"width": width})``.

    Args:
        num_features: D, the width of the output.
        config: the subclass's constructor arguments, plain values only.

    Attributes:
        card: the export's card (see `load_encoder`); empty for a new network.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.num_features = num_features
        self.config = dict(config)
        self.card: dict[str, Any] = {}


class Encoder(Exportable):
    """A network over clips, without a classifier. D is the number of channels of the last maps.

    Attributes:
        per_frame: True if frames are encoded independently, so that T' = T and `FrameEncoder.frames` exists.
        min_clip: smallest (T, H, W) that the network accepts.
    """

    per_frame: bool = False
    min_clip: tuple[int, int, int] = (1, 1, 1)

    def maps(self, clips: Tensor) -> Tensor:
        """Return feature maps ``[B, D, T', H', W']`` of clips ``[B, T, 3, H, W]`` (float, normalised).

        Raises:
            ValueError: if shape or type is wrong, or the clip is smaller than ``min_clip``.
        """
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        """Return one vector per clip, the mean of `maps`: ``[B, D]`` float32, even under autocast."""
        return self.maps(clips).mean(dim=(2, 3, 4), dtype=torch.float32)

    def check_clips(self, clips: Tensor) -> None:
        """Raise `ValueError` unless ``clips`` is a batch of normalised clips (see `maps`)."""
        name = type(self).__name__
        if clips.ndim != 5 or clips.shape[2] != 3:
            raise ValueError(f"{name}: expected clips [B, T, 3, H, W], got {list(clips.shape)}")
        if not clips.is_floating_point():
            raise ValueError(f"{name}: expected normalised float clips, got {clips.dtype}: call Clips.normalised first")
        got = (clips.shape[1], clips.shape[3], clips.shape[4])
        if any(size < least for size, least in zip(got, self.min_clip, strict=True)):
            raise ValueError(f"{name}: needs clips of at least {self.min_clip} (frames, height, width), got {got}")


class FrameEncoder(Encoder):
    """An encoder of single frames: T' = T, and `forward` averages over time."""

    per_frame = True

    def stages(self, clips: Tensor) -> list[Tensor]:
        """Return the maps of all stages of clips ``[B, T, 3, H, W]``, for heads that need more detail than the last.

        They are four ``[B*T, C, h, w]``, at 1/4, 1/8, 1/16 and 1/32 of the frame's height and width.
        """
        raise NotImplementedError

    def maps(self, clips: Tensor) -> Tensor:  # noqa: D102
        return rearrange(self.stages(clips)[-1], "(b t) d h w -> b d t h w", t=clips.shape[1])

    def frames(self, clips: Tensor) -> Tensor:
        """Return one vector per frame, ``[B, T, D]`` float32, of clips ``[B, T, 3, H, W]``, in one batched call."""
        vectors = self.stages(clips)[-1].mean(dim=(2, 3), dtype=torch.float32)  # [B*T, D]
        return rearrange(vectors, "(b t) d -> b t d", t=clips.shape[1])

    def forward(self, clips: Tensor) -> Tensor:  # noqa: D102
        return self.frames(clips).mean(dim=1)


class AudioEncoder(Exportable):
    """A network over sound, without a classifier. Its preprocessing of samples (log-mel, ...) is part of it.

    Args:
        num_features: D, the number of channels of the last maps.
        config: the subclass's constructor arguments, plain values only.
        rate: sampling rate of its input, in Hz.
        min_samples: smallest number of samples that it accepts.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any], rate: int, min_samples: int) -> None:
        super().__init__(num_features, config)
        self.rate, self.min_samples = rate, min_samples

    def maps(self, sound: Tensor) -> Tensor:
        """Return features over time ``[B, D, T']`` of sound ``[B, S]`` (float mono in [-1, 1], at ``rate`` Hz).

        Raises:
            ValueError: if shape or type is wrong, or there are fewer than ``min_samples`` samples.
        """
        raise NotImplementedError

    def forward(self, sound: Tensor) -> Tensor:
        """Return one vector per sound, the mean of `maps` over time: ``[B, D]`` float32, even under autocast."""
        return self.maps(sound).mean(dim=2, dtype=torch.float32)

    def check_sound(self, sound: Tensor) -> None:
        """Raise `ValueError` unless ``sound`` is a batch of sounds (see `maps`)."""
        name = type(self).__name__
        if sound.ndim != 2 or not sound.is_floating_point():
            raise ValueError(f"{name}: expected float sound [B, S], got {sound.dtype} {list(sound.shape)}")
        if sound.shape[1] < self.min_samples:
            raise ValueError(
                f"{name}: needs at least {self.min_samples} samples ({self.min_samples / self.rate:.3f} s), "
                f"got {sound.shape[1]}"
            )
