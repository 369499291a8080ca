"""Interface between video files and pretext tasks: the seconds to read, and the batch read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from avssl.pixels import normalise


class ClipTimes(NamedTuple):
    """Seconds of one video to read for a pretext task, in the order to be shown.

    Attributes:
        times: ``[N, T]`` float64 seconds from the first shown frame: T frames for each of N clips.
        audio: ``[N, 2]`` float64 seconds, start and stop of each clip's sound.
        view: ``[N]`` int64 number, from 0, of the synchronised camera to read each clip from; None if there is only one
            (see `avssl.data.samplers.ViewSampler`).
    """

    times: Tensor
    audio: Tensor | None = None
    view: Tensor | None = None


@dataclass
class Clips:
    """A batch of B videos with N clips of T frames. Shapes are checked once, on construction.

    Attributes:
        video: ``[B, N, T, 3, H, W]``, uint8 in the loader, float and normalised on the device.
        times: ``[B, N, T]`` float64 seconds at which each frame is shown.
        audio: ``[B, N, S]`` float32 mono in [-1, 1]; ``[B, N, C, S]`` if the sampler asks for C channels.
        audio_times: ``[B, N, 2]`` float64 seconds, start and stop of the sound.
        audio_valid: ``[B, N, 2]`` float64 seconds, the part of that span in which the file has sound.
        target: ``[B, N, ...]`` target that a labeller made from the pixels.
        label: ``[B]`` int64 class, -1 if unknown. For evaluation only: a method must not read it unless it declares so
            (`avssl.methods.Method.uses_labels`).
        pixels: ``[B, N, T, 3, H, W]`` uint8, the video before it was normalised; see `rgb`.
        drawn: ``[B, D]`` float32, the changes of colour still to be made (`avssl.data.ClipTransform.finish`); it stays
            on the CPU.
        mean: per channel, what `normalised` subtracted.
        std: per channel, by what it divided.
        index: ``[B]`` int64 number of each item in its data set, for methods that remember something of each video.

    Raises:
        ValueError: if shapes disagree; names the field, the expected and the actual shape.
    """

    video: Tensor
    times: Tensor
    audio: Tensor | None = None
    audio_times: Tensor | None = None
    audio_valid: Tensor | None = None
    target: Tensor | None = None
    label: Tensor | None = None
    pixels: Tensor | None = None
    drawn: Tensor | None = None
    mean: Tensor | None = None
    std: Tensor | None = None
    index: Tensor | None = None

    def __post_init__(self) -> None:
        if self.video.ndim != 6 or self.video.shape[3] != 3:
            raise ValueError(f"Clips.video: expected [B, N, T, 3, H, W], got {list(self.video.shape)}")
        b, n, t = self.video.shape[:3]
        leading = {
            "times": (b, n, t),
            "audio": (b, n),
            "audio_times": (b, n, 2),
            "audio_valid": (b, n, 2),
            "target": (b, n),
            "label": (b,),
            "pixels": tuple(self.video.shape),
            "drawn": (b,),
            "mean": (3,),
            "std": (3,),
            "index": (b,),
        }
        for name, expected in leading.items():
            value: Tensor | None = getattr(self, name)
            if value is not None and tuple(value.shape[: len(expected)]) != expected:
                raise ValueError(
                    f"Clips.{name}: expected a shape that begins with {list(expected)} "
                    f"(video is {list(self.video.shape)}), got {list(value.shape)}"
                )

    def __len__(self) -> int:
        return self.video.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Clips:
        """Move the batch to a device."""
        return replace(self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking)), drawn=self.drawn)

    def pin_memory(self) -> Clips:
        """Copy the batch to page-locked memory (called by the data loader)."""
        return self._map(Tensor.pin_memory)

    def normalised(self, mean: Tensor, std: Tensor) -> Clips:
        """Scale uint8 pixels to [0, 1] and standardise each channel.

        Args:
            mean: ``[3]`` channel means of pixels in [0, 1].
            std: ``[3]`` channel standard deviations.
        """
        return replace(self, video=normalise(self.video, mean, std), pixels=self.video, mean=mean, std=std)

    def denormalise(self, pictures: Tensor) -> Tensor:
        """Convert pictures ``[..., 3, H, W]`` that are normalised as these clips to RGB in [0, 1], float32.

        Raises:
            ValueError: if the clips were not made by `normalised`.
        """
        return pictures.float() * self._statistic(self.std) + self._statistic(self.mean)

    def normalise(self, rgb: Tensor) -> Tensor:
        """Invert `denormalise`; a single channel ``[..., 1, H, W]`` is broadcast to all three."""
        return (rgb - self._statistic(self.mean)) / self._statistic(self.std)

    @property
    def rgb(self) -> Tensor:
        """RGB in [0, 1] of normalised clips: ``[B, N, T, 3, H, W]`` float32.

        Raises:
            ValueError: if the clips were not made by `normalised`, which keeps the pixels.
        """
        if self.pixels is None:
            raise ValueError("Clips.rgb: there are no pixels; only the clips that Clips.normalised returns keep them")
        return self.pixels.float() / 255

    def _statistic(self, values: Tensor | None) -> Tensor:
        if values is None:
            raise ValueError("Clips: how these clips are normalised is unknown; only Clips.normalised says it")
        return values.view(3, 1, 1)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Clips:
        moved = Clips(function(self.video), function(self.times))
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            setattr(moved, field.name, None if value is None else function(value))
        return moved
