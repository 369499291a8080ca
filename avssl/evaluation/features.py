"""Views of a protocol's videos: which clips, how they are read and encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.utils.data import Dataset

from avssl.catalog.manifest import Manifest
from avssl.data.samplers import UniformClips
from avssl.encoders import Encoder
from avssl.encoders.inference import for_inference
from avssl.evaluation.reading import Grid, Part, Reading, describe, parts_of
from avssl.media import VideoInfo, open_video
from avssl.pixels import normalise
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.halving import Halving

VIEWS_AT_ONCE = 64  # views per forward pass
VIEWS_PER_WORKER = 16  # the same in a worker that also decodes: few, so that all finish at about the same time
WHOLE = Reading()  # an encoder's own vector


@dataclass(frozen=True)
class Views:
    """Clips and crops that represent a video.

    Args:
        clips: clips per video, spread evenly over it; a single one is taken from the middle.
        num_frames: frames per clip (T). Videos shorter than a clip are looped.
        step: seconds between two frames; None spreads a clip's frames evenly over the whole video, however long it is.
            The frames of several clips then lie between each other's.
        size: height and width of a view in pixels.
        fit: ``"squash"`` scales the whole picture to a square, so that the aspect ratio can't give a class away;
            ``"crop"`` scales the short side to ``size`` and cuts out squares.
        crops: with ``"crop"``, 1 (the middle) or 3 squares along the long side.
        segments: a frame encoder's clip is also described by the features of this many segments, in order.
    """

    clips: int = 5
    num_frames: int = 16
    step: float | None = 0.1
    size: int = 112
    fit: Literal["squash", "crop"] = "squash"
    crops: Literal[1, 3] = 1
    segments: int = 4

    def __post_init__(self) -> None:
        if self.fit == "squash" and self.crops != 1:
            raise ValueError("views: crops=3 needs fit=crop: a squashed picture is already whole")
        counts = dict.fromkeys(("clips", "num_frames", "size", "segments"), "[1, inf)")
        check_ranges("views", self, **counts, step="(0, inf)")
        if self.num_frames % self.segments:
            raise ValueError(f"views: {self.num_frames} frames can't be cut into {self.segments} equal segments")

    @property
    def count(self) -> int:
        """Views per video (M)."""
        return self.clips * self.crops

    def times(self, info: VideoInfo) -> Tensor:
        """Return the times ``[clips, T]`` of a video's frames in seconds."""
        if self.step is None:
            count = self.clips * self.num_frames
            middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count * info.duration
            return middles.unflatten(0, (self.num_frames, self.clips)).T
        sampler = UniformClips(self.clips, self.num_frames, self.step)
        if info.duration >= sampler.seconds:
            return sampler(info, torch.Generator()).times
        return sampler(replace(info, duration=sampler.seconds), torch.Generator()).times % info.duration

    def read(self, info: VideoInfo, times: Tensor) -> Tensor:
        """Read the clips at ``[N, T]`` seconds as uint8 ``[N * crops, T, 3, size, size]``, channels last in memory."""
        (height, width), size = info.size, self.size
        factor = size / min(info.size)
        shape = (size, size) if self.fit == "squash" else (round(height * factor), round(width * factor))
        with open_video(info.path, info=info) as reader:
            frames = reader.frames(times.flatten(), size=shape).movedim(1, 3)  # [N T, h, w, 3], as they lie in memory
        shares = (0.5,) if self.crops == 1 else (0.0, 0.5, 1.0)
        corners = [(round((shape[0] - size) * share), round((shape[1] - size) * share)) for share in shares]
        cuts = [frames[:, top : top + size, left : left + size] for top, left in corners]
        clips = rearrange(cuts, "crop (n t) h w c -> (n crop) t h w c", n=len(times))
        return clips.movedim(4, 2)


def spread(views: Views, num_frames: int) -> Views:
    """Return views as one clip of so many frames that are spread over the whole video."""
    return replace(views, clips=1, num_frames=num_frames, step=None, segments=1)


class ViewDataset(Dataset[Tensor]):
    """All views of each video, uint8 ``[M, T, 3, S, S]``; an unreadable video is an error, never replaced."""

    def __init__(self, videos: Manifest, rows: Sequence[int], views: Views) -> None:
        self.videos, self.rows, self.views = videos, rows, views

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        info = self.videos[self.rows[index]]
        return self.views.read(info, self.views.times(info))


class Normalise:
    """Normalise uint8 ``[..., 3, H, W]`` by the statistics that the encoder was trained with."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self.mean, self.std = torch.tensor(mean, device=device), torch.tensor(std, device=device)

    @classmethod
    def of(cls, encoder: Encoder, machine: Machine) -> Normalise:
        """Take the statistics from an encoder's card and the device from a machine."""
        return cls(encoder.card["mean"], encoder.card["std"], machine.target)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the same shape, float32, on the device."""
        return normalise(pixels.to(self.mean.device, non_blocking=True), self.mean, self.std)


def parts(encoder: Encoder, views: Views, grid: Grid | None = None, layers: Sequence[int] = ()) -> tuple[Part, ...]:
    """Return where each layer's numbers are in what `extract_features` returns, found by encoding one empty clip.

    Raises:
        ValueError: if the encoder does not accept these views, or has no such layers.
    """
    return check_fits(encoder, views, [Reading(grid, tuple(layers))])[0]


def check_fits(encoder: Encoder, views: Views, readings: Sequence[Reading] = (WHOLE,)) -> list[tuple[Part, ...]]:
    """Encode one empty clip, and return the parts of each reading.

    Raises:
        ValueError: if the encoder does not accept these views, or has no such layers.
    """
    device = next(encoder.parameters(), torch.empty(0)).device
    try:
        with torch.inference_mode():
            empty = torch.zeros(1, views.num_frames, 3, views.size, views.size, device=device)
            return parts_of(encoder, empty, views.segments, readings)
    except (ValueError, RuntimeError) as error:
        if str(error).startswith("layers:"):
            raise
        raise ValueError(
            f"{type(encoder).__name__}({encoder.config}) does not fit the protocol's views of {views.num_frames} "
            f"frames, {views.size} x {views.size} pixels: {error}. Change views.num_frames or views.size"
        ) from error


class FeatureDataset(Dataset[Tensor]):
    """Features of all views of each video, ``[M, N]``, encoded by the workers of a CPU, one core each.

    This is faster than one process that encodes with all cores while others decode, and no pixels are moved. The videos
    of a batch are encoded together. The encoder must be on the CPU, in eval mode.
    """

    def __init__(
        self, pixels: ViewDataset, encoder: Encoder, machine: Machine, readings: Sequence[Reading] = (WHOLE,)
    ) -> None:
        self.pixels, self.encoder, self.machine, self.readings = pixels, encoder, machine, readings
        self.normalise = Normalise.of(encoder, machine)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        pixels = torch.cat([self.pixels[index].movedim(2, 4) for index in indices]).movedim(4, 2)  # stays channels last
        found = encode(self.encoder, pixels, self.pixels.views, self.normalise, self.machine, self.readings)
        return list(found.unflatten(0, (len(indices), -1)))


def videos_together(views: Views) -> tuple[int, int]:
    """Return the number of videos that are encoded together: by a worker on a CPU, and on a GPU."""
    return max(1, VIEWS_PER_WORKER // views.count), max(1, VIEWS_AT_ONCE // views.count)


def encode(
    encoder: Encoder,
    pixels: Tensor,
    views: Views,
    normalise: Normalise,
    machine: Machine,
    readings: Sequence[Reading] = (WHOLE,),
    at_once: Halving | None = None,
) -> Tensor:
    """Encode views, uint8 ``[B, T, 3, H, W]``, as float32 ``[B, N]`` on the encoder's device.

    ``at_once`` remembers, from one call to the next, how many views a GPU's memory has room for.
    """

    def encoded(some: Tensor) -> Tensor:
        with torch.inference_mode(), machine.autocast():
            return describe(encoder, normalise(some), views.segments, readings)

    return (at_once or Halving(VIEWS_AT_ONCE))(encoded, pixels)


def stream_features(
    encoder: Encoder,
    videos: Manifest,
    rows: Sequence[int],
    views: Views,
    machine: Machine,
    readings: Sequence[Reading] = (WHOLE,),
    per_shard: int | None = None,
) -> Iterator[Tensor]:
    """Yield the features ``[M, N]`` of one video after the other, float32 on the CPU, in the order of ``rows``.

    Videos are encoded a few at a time, but none together with those of another run of ``per_shard`` rows: features
    then don't depend, not even by rounding, on who encodes which of these runs.
    """
    device = machine.target
    encoder = for_inference(encoder.to(device), machine.half)
    pixels = ViewDataset(videos, rows, views)
    together = videos_together(views)[device.type != "cpu"]
    run = per_shard or max(1, len(rows))
    ends = [(begin, min(begin + run, len(rows))) for begin in range(0, len(rows), run)]
    batches = [range(at, min(at + together, end)) for begin, end in ends for at in range(begin, end, together)]
    if device.type == "cpu":
        for found in machine.loader(FeatureDataset(pixels, encoder, machine, readings), batches):
            yield from found
        return
    normalise, at_once = Normalise.of(encoder, machine), Halving(VIEWS_AT_ONCE)
    for batch in machine.loader(pixels, batches):
        found = encode(encoder, batch.flatten(0, 1), views, normalise, machine, readings, at_once)
        yield from found.unflatten(0, (len(batch), -1)).cpu()
