"""What is read from an encoder of each view: one vector, maps on a small grid, inner layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from avssl.encoders import Encoder
from avssl.encoders.layers import layer_maps
from avssl.runtime.checks import check_ranges

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Reading:
    """What is read from an encoder of each view.

    Args:
        grid: cells in time, height and width on which maps are averaged, at most as many as a map has along each; None
            for one vector, that of the encoder itself or the mean of a layer's maps. Without layers, a frame encoder's
            vector is instead one for each of `Views.segments` segments.
        layers: inner layers, numbered from 0 (see `avssl.encoders.layers.layer_maps`); with none, the encoder's output.
    """

    grid: Grid | None = None
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_ranges("", self, grid="[1, inf)", layers="[0, inf)")
        if self.grid is not None and len(self.grid) != 3:
            raise ValueError(f"grid is {self.grid}: expected three numbers of cells, in time, height and width")
        if len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers are {self.layers}: name each once")


@dataclass(frozen=True)
class Part:
    """Where one layer's numbers are among the N of a view: in the order time, height, width, channel.

    Attributes:
        layer: number of the layer; None for the encoder's output.
        grid: cells in time, height and width.
        width: channels (D).
        start: place of the first number.
    """

    layer: int | None
    grid: Grid
    width: int
    start: int

    @property
    def stop(self) -> int:
        """Place after the last number."""
        time, height, width = self.grid
        return self.start + time * height * width * self.width

    @property
    def slice(self) -> slice:
        """The places of the numbers."""
        return slice(self.start, self.stop)


def read(encoder: Encoder, clips: Tensor, segments: int, readings: Sequence[Reading]) -> Iterator[list[Tensor]]:
    """Encode clips ``[B, T, 3, H, W]``; yield for each reading its layers as ``[B, T', h, w, D]`` float32.

    The network runs once for all layers and once for its last maps, however many readings there are.
    """
    layers = sorted({layer for reading in readings for layer in reading.layers})
    inner = dict(zip(layers, layer_maps(encoder, clips, layers), strict=True)) if layers else {}
    last = [encoder.maps(clips)] if any(each.grid and not each.layers for each in readings) else []
    for reading in readings:
        maps = [inner[layer] for layer in reading.layers] or last
        if reading.grid is not None or reading.layers:
            yield [_on_grid(each, reading.grid or (1, 1, 1)) for each in maps]
        elif encoder.per_frame:
            frames: Tensor = encoder.frames(clips)  # type: ignore[operator]
            yield [frames.unflatten(1, (segments, -1)).mean(2)[:, :, None, None].float()]  # [B, S, 1, 1, D]
        else:
            yield [encoder(clips)[:, None, None, None].float()]


def describe(encoder: Encoder, clips: Tensor, segments: int, readings: Sequence[Reading]) -> Tensor:
    """Encode clips ``[B, T, 3, H, W]`` as ``[B, N]`` float32: all readings, one after the other."""
    return torch.cat([part.flatten(1) for found in read(encoder, clips, segments, readings) for part in found], 1)


def parts_of(encoder: Encoder, empty: Tensor, segments: int, readings: Sequence[Reading]) -> list[tuple[Part, ...]]:
    """Return the parts of each reading of views like the clips ``empty``, ``[1, T, 3, H, W]``."""
    result = []
    for reading, found in zip(readings, read(encoder, empty, segments, readings), strict=True):
        start, parts = 0, []
        for layer, values in zip(reading.layers or (None,), found, strict=True):
            time, height, width, channels = values.shape[1:]
            parts.append(Part(layer, (time, height, width), channels, start))
            start = parts[-1].stop
        result.append(tuple(parts))
    return result


def _on_grid(maps: Tensor, grid: Grid) -> Tensor:
    """Average maps ``[B, D, T', H', W']`` on a grid: ``[B, t, h, w, D]`` float32."""
    time, height, width = (min(cells, size) for cells, size in zip(grid, maps.shape[2:], strict=True))
    found = F.adaptive_avg_pool3d(maps.float(), (time, height, width))
    return rearrange(found, "b d t h w -> b t h w d")
