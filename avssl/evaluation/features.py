"""Features of a protocol's videos: the views, the reading, the encoding, the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from einops import rearrange
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from avssl.catalog.manifest import Manifest
from avssl.data.samplers import UniformClips
from avssl.encoders import Encoder, weights_hash
from avssl.encoders.inference import for_inference
from avssl.media import VideoInfo, open_video
from avssl.pixels import normalise
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.files import write_atomically
from avssl.runtime.progress import Tally

VERSION = 2  # of cached features: raise it when the same facts give other features
VIEWS_AT_ONCE = 64  # views per forward pass
VIEWS_PER_WORKER = 16  # the same in a worker that also decodes: few, so that all finish at about the same time


@dataclass(frozen=True)
class Views:
    """Clips and crops that represent a video.

    Args:
        clips: clips per video, spread evenly over it; a single one is taken from the middle.
        num_frames: frames per clip (T). Videos shorter than a clip are looped.
        step: seconds between two frames.
        size: height and width of a view in pixels.
        fit: ``"squash"`` scales the whole picture to a square, so that the aspect ratio can't give a class away;
            ``"crop"`` scales the short side to ``size`` and cuts out squares.
        crops: with ``"crop"``, 1 (the middle) or 3 squares along the long side.
        segments: a frame encoder's clip is also described by the features of this many segments, in order.
    """

    clips: int = 5
    num_frames: int = 16
    step: float = 0.1
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


def describe(encoder: Encoder, clips: Tensor, segments: int) -> Tensor:
    """Encode clips ``[B, T, 3, H, W]`` as ``[B, S, D]``; S is ``segments`` for frame encoders, otherwise 1."""
    if not encoder.per_frame:
        return encoder(clips)[:, None]
    frames: Tensor = encoder.frames(clips)  # type: ignore[operator]
    return frames.unflatten(1, (segments, -1)).mean(2)  # [B, T, D] -> [B, S, D]


def check_fits(encoder: Encoder, views: Views) -> None:
    """Encode one empty clip; raise ValueError if the encoder does not accept these views."""
    try:
        with torch.inference_mode():
            describe(encoder, torch.zeros(1, views.num_frames, 3, views.size, views.size), views.segments)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{type(encoder).__name__}({encoder.config}) does not fit the protocol's views of {views.num_frames} "
            f"frames, {views.size} x {views.size} pixels: {error}. Change views.num_frames or views.size"
        ) from error


class FeatureDataset(Dataset[Tensor]):
    """Features of all views of each video, ``[M, S, D]``, encoded by the workers of a CPU, one core each.

    This is faster than one process that encodes with all cores while others decode, and no pixels are moved. The videos
    of a batch are encoded together. The encoder must be on the CPU, in eval mode.
    """

    def __init__(self, pixels: ViewDataset, encoder: Encoder, machine: Machine) -> None:
        self.pixels, self.encoder, self.machine = pixels, encoder, machine
        self.normalise = Normalise.of(encoder, machine)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        pixels = torch.cat([self.pixels[index].movedim(2, 4) for index in indices]).movedim(4, 2)  # stays channels last
        found = encode(self.encoder, pixels, self.pixels.views, self.normalise, self.machine)
        return list(found.unflatten(0, (len(indices), -1)))


def encode(encoder: Encoder, pixels: Tensor, views: Views, normalise: Normalise, machine: Machine) -> Tensor:
    """Encode views, uint8 ``[N, T, 3, H, W]``, as float32 ``[N, S, D]`` on the encoder's device."""
    with torch.inference_mode(), machine.autocast():
        parts = [describe(encoder, normalise(part), views.segments).float() for part in pixels.split(VIEWS_AT_ONCE)]
    return torch.cat(parts)


def stream_features(
    encoder: Encoder, videos: Manifest, rows: Sequence[int], views: Views, machine: Machine
) -> Iterator[Tensor]:
    """Yield the features ``[M, S, D]`` of one video after the other, float32 on the CPU, in the order of ``rows``."""
    device = machine.target
    encoder = for_inference(encoder.to(device), machine.half)
    pixels = ViewDataset(videos, rows, views)
    if device.type == "cpu":
        for found in machine.loader(FeatureDataset(pixels, encoder, machine), max(1, VIEWS_PER_WORKER // views.count)):
            yield from found
        return
    normalise = Normalise.of(encoder, machine)
    for batch in machine.loader(pixels, max(1, VIEWS_AT_ONCE // views.count)):
        yield from encode(encoder, batch.flatten(0, 1), views, normalise, machine).unflatten(0, (len(batch), -1)).cpu()


def extract_features(encoder: Encoder, videos: Manifest, rows: Sequence[int], views: Views, machine: Machine) -> Tensor:
    """Return features ``[V, M, S, D]``, from the cache if the same encoder has seen the same views of the same videos.

    ``rows`` are the positions of the V videos; ``encoder.card`` holds the ``mean`` and ``std`` of the pixels.

    Raises:
        MediaError: if a video can't be read.
        ValueError: if the encoder does not fit the views.
    """
    check_fits(encoder, views)
    facts = {
        "encoder": weights_hash(encoder),
        "normalisation": [encoder.card["mean"], encoder.card["std"]],
        "videos": videos.select(rows).fingerprint,
        "views": asdict(views),
        "bfloat16": machine.half,
        "version": VERSION,
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = machine.folder / "features" / f"{name}.safetensors"
    if path.exists():
        return load_file(path)["features"]
    found = []
    with Tally("features", len(rows)) as tally:
        for video in stream_features(encoder, videos, rows, views, machine):
            found.append(video)
            tally.add("videos")
    result = torch.stack(found)
    content = save({"features": result}, metadata={"facts": json.dumps(facts)})
    write_atomically(path, lambda file: file.write(content))
    return result
