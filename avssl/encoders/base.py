"""What every encoder is: clips (or sound) in, feature maps or one vector a clip out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Exportable(nn.Module):
    """A network that an export can build again.

    A subclass passes its own constructor arguments on:
    ``super().__init__(num_features=8 * width, config={"width": width})``.

    Args:
        num_features: D, the width of what it gives.
        config: the constructor arguments of the subclass, plain values only.

    Attributes:
        num_features: D.
        config: as given.
        card: what an export says about the network (see `load_encoder`); empty for a network made here.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.num_features = num_features
        self.config = dict(config)
        self.card: dict[str, Any] = {}


class Encoder(Exportable):
    """A network over clips, without a classifier. Its arguments are those of `Exportable`; D counts the last maps.

    Attributes:
        per_frame: True where frames are encoded independently, so that T' = T and `frames` exists.
        min_clip: the least (T, H, W) that the network accepts.
    """

    per_frame: bool = False
    min_clip: tuple[int, int, int] = (1, 1, 1)

    def maps(self, clips: Tensor) -> Tensor:
        """Feature maps.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            ``[B, D, T', H', W']``.

        Raises:
            ValueError: where the shape or the type is another, or the clip is smaller than ``min_clip``.
        """
        raise NotImplementedError

    def forward(self, clips: Tensor) -> Tensor:
        """One vector a clip: the mean of `maps` over time and space.

        Args:
            clips: ``[B, T, 3, H, W]`` float, normalised.

        Returns:
            ``[B, D]`` float32 (also under autocast).
        """
        return self.maps(clips).mean(dim=(2, 3, 4), dtype=torch.float32)

    def check_clips(self, clips: Tensor) -> None:
        """Refuse what is not a batch of normalised clips.

        Raises:
            ValueError: see `maps`.
        """
        name = type(self).__name__
        if clips.ndim != 5 or clips.shape[2] != 3:
            raise ValueError(f"{name}: expected clips [B, T, 3, H, W], got {list(clips.shape)}")
        if not clips.is_floating_point():
            raise ValueError(f"{name}: expected normalised float clips, got {clips.dtype}: call Clips.normalised first")
        got = (clips.shape[1], clips.shape[3], clips.shape[4])
        if any(size < least for size, least in zip(got, self.min_clip, strict=True)):
            raise ValueError(f"{name}: needs clips of at least {self.min_clip} (frames, height, width), got {got}")


class AudioEncoder(Exportable):
    """A network over sound, without a classifier. What it makes of the samples first (log-mel, ...) belongs to it.

    Args:
        num_features: D, the number of channels of the last maps.
        config: the constructor arguments of the subclass, plain values only.
        rate: samples a second that it must be given.
        min_samples: the least number of samples that it accepts.

    Attributes:
        rate: as given.
        min_samples: as given.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any], rate: int, min_samples: int) -> None:
        super().__init__(num_features, config)
        self.rate, self.min_samples = rate, min_samples

    def maps(self, sound: Tensor) -> Tensor:
        """Features over time.

        Args:
            sound: ``[B, S]`` float mono in [-1, 1], ``rate`` samples a second.

        Returns:
            ``[B, D, T']``.

        Raises:
            ValueError: where the shape or the type is another, or there are fewer samples than ``min_samples``.
        """
        raise NotImplementedError

    def forward(self, sound: Tensor) -> Tensor:
        """One vector a sound: the mean of `maps` over time.

        Args:
            sound: ``[B, S]`` float mono in [-1, 1].

        Returns:
            ``[B, D]`` float32 (also under autocast).
        """
        return self.maps(sound).mean(dim=2, dtype=torch.float32)

    def check_sound(self, sound: Tensor) -> None:
        """Refuse what is not a batch of sounds.

        Raises:
            ValueError: see `maps`.
        """
        name = type(self).__name__
        if sound.ndim != 2 or not sound.is_floating_point():
            raise ValueError(f"{name}: expected float sound [B, S], got {sound.dtype} {list(sound.shape)}")
        if sound.shape[1] < self.min_samples:
            raise ValueError(
                f"{name}: needs at least {self.min_samples} samples ({self.min_samples / self.rate:.3f} s), "
                f"got {sound.shape[1]}"
            )
