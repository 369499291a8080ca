"""Optical flow between the frames of a clip, atomic (quantised) flow, and scene flow where depth is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avssl.labels.recorded import RecordedDepth
from avssl.media import VideoInfo
from avssl.pixels import LUMA

Array = NDArray[np.float32]


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV on the calling thread alone: workers must not fight over cores, and sums keep their order."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def grey(frames: Tensor) -> NDArray[np.uint8]:
    """``[..., 3, H, W]`` uint8 RGB to ``[..., H, W]`` uint8 luma (BT.601)."""
    return torch.einsum("...chw,c->...hw", frames.float(), torch.tensor(LUMA)).round_().byte().numpy()


def dis_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Array:
    """Dense inverse search (Kroeger et al., ECCV 2016) as OpenCV has it, down to full resolution.

    Args:
        first: ``[H, W]`` uint8 grey.
        second: ``[H, W]`` uint8 grey.

    Returns:
        ``[2, H, W]`` float32 pixels to the right and down, from ``first`` to ``second``.
    """
    height, width = first.shape
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    with one_thread():
        enlarged = max(1, math.ceil(64 / min(height, width)))  # its patches need some room
        size = (width * enlarged, height * enlarged)
        large = [cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) for picture in (first, second)]
        flow = search.calc(large[0], large[1], None)  # [h, w, 2]
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / enlarged
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)


@dataclass(frozen=True)
class OpticalFlow:
    """Flow from each frame to the next: ``[N, T - 1, 2, H, W]`` float32 pixels to the right and down."""

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to their flow."""
        pictures = grey(frames)  # [N, T, H, W]
        flows = [[dis_flow(*pair) for pair in pairwise(clip)] for clip in pictures]
        return torch.from_numpy(np.array(flows))


@dataclass(frozen=True)
class AtomicFlow:
    """Flow quantised in space, direction and speed (after Luo et al., CVPR 2017, section 3).

    The picture is divided into cells; the mean velocity of each is class 0 where it is slower than the first of
    ``speeds``, otherwise one of ``directions`` classes for each interval of speed that begins at one of ``speeds``. The
    paper quantises 3D flow; from RGB alone there are two dimensions. Velocities count in picture widths a second, so
    that classes mean the same at every size and every distance between frames.

    Args:
        grid: cells on a side.
        directions: directions that are told apart; the middle of the first is to the right, and they run clockwise.
        speeds: where the intervals of speed begin, in picture widths a second, rising.
    """

    grid: int = 16
    directions: int = 8
    speeds: tuple[float, ...] = (0.06, 0.3)

    @property
    def classes(self) -> int:
        """Standing still, and each direction at each speed."""
        return 1 + self.directions * len(self.speeds)

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to ``[N, T - 1, grid, grid]`` int64 classes, from each frame to the next."""
        flow = OpticalFlow()(frames, times, info)  # [N, T - 1, 2, H, W]
        cells = F.adaptive_avg_pool2d(flow.flatten(0, 1), self.grid).unflatten(0, flow.shape[:2])
        seconds = times.diff(dim=1).float()[..., None, None, None]  # [N, T - 1, 1, 1, 1]
        return self.quantised(cells / (frames.shape[-1] * seconds))

    def quantised(self, velocity: Tensor) -> Tensor:
        """``[..., 2, g, g]`` picture widths a second to ``[..., g, g]`` int64 classes."""
        across, down = velocity.unbind(-3)
        speed = torch.bucketize(velocity.norm(dim=-3), velocity.new_tensor(self.speeds), right=True)  # 0: still
        sector = torch.atan2(down, across) * (self.directions / (2 * math.pi))
        sector = sector.round().long() % self.directions
        return torch.where(speed > 0, 1 + (speed - 1) * self.directions + sector, 0)

    def velocities(self) -> Tensor:
        """``[classes, 2]`` picture widths a second: the middle direction of each class at 1.5 times its least speed."""
        angle = torch.arange(self.directions) * (2 * math.pi / self.directions)
        return _centres(torch.stack([angle.cos(), angle.sin()], dim=1), self.speeds)

    def drawn(self, classes: Tensor) -> Tensor:
        """``[..., g, g]`` classes to ``[..., 3, g, g]`` RGB in [0, 1]: hue for direction, brightness for speed."""
        flow = self.velocities().to(classes.device)[classes].movedim(-1, -3)
        return flow_picture(flow, 1.5 * self.speeds[-1])


@dataclass(frozen=True)
class AtomicSceneFlow:
    """Flow in space, quantised in place, direction and speed, where depth is known (Luo et al., CVPR 2017, section 3).

    The picture is divided into cells; the median velocity of what each shows (`scene_flow`) is class 0 where it is
    slower than the first of ``speeds``, otherwise one of the 26 ways from a cube of 27 to its neighbours for each
    interval of speed. Of a cell in which no depth is known nothing is known: it counts as still.

    Args:
        grid: cells on a side; the picture's sides must be multiples of it.
        speeds: where the intervals of speed begin, in metres a second, rising.
        focal: focal length in picture widths.
        maps: where the depth maps are, see `RecordedDepth`.
        unit: metres a step of theirs.
    """

    grid: int = 16
    speeds: tuple[float, ...] = (0.5,)
    focal: float = 1.0
    maps: Path | None = None
    unit: float = 0.001

    @property
    def classes(self) -> int:
        """Standing still, and each direction at each speed."""
        return 1 + len(WAYS) * len(self.speeds)

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to ``[N, T - 1, grid, grid]`` int64 classes, from each frame to the next.

        Raises:
            ValueError: where the picture can't be divided into the cells, and as `RecordedDepth`.
        """
        height, width = frames.shape[-2:]
        if height % self.grid or width % self.grid:
            raise ValueError(
                f"AtomicSceneFlow: {width} x {height} pixels can't be divided into {self.grid} x {self.grid} equal "
                "cells: give the transform a size that is a multiple of the labeller's grid"
            )
        flow = OpticalFlow()(frames, times, info).numpy()
        depth = RecordedDepth(self.maps, self.unit)(frames, times, info).numpy()
        focal = self.focal * width
        view = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        moved = np.stack(
            [
                [scene_flow(step, pair, (view, view)) for step, pair in zip(steps, pairwise(maps), strict=True)]
                for steps, maps in zip(flow, depth, strict=True)
            ]
        )  # [N, T - 1, 3, H, W]
        seconds = times.diff(dim=1).float()[..., None, None, None]  # [N, T - 1, 1, 1, 1]
        return self.quantised(self.by_cells(torch.from_numpy(moved)) / seconds)

    def by_cells(self, moved: Tensor) -> Tensor:
        """``[..., H, W]`` to the median of what is known in each cell, ``[..., grid, grid]``; NaN where nothing is."""
        cells = moved.unflatten(-1, (self.grid, -1)).unflatten(-3, (self.grid, -1)).transpose(-3, -2)
        return cells.flatten(-2).nanmedian(-1).values

    def quantised(self, velocity: Tensor) -> Tensor:
        """``[..., 3, g, g]`` metres a second, right, down and ahead (NaN: not known), to ``[..., g, g]`` classes."""
        velocity = velocity.nan_to_num(0)
        speed = torch.bucketize(velocity.norm(dim=-3), velocity.new_tensor(self.speeds), right=True)
        way = torch.einsum("...chw,kc->...khw", velocity, WAYS).argmax(-3)
        return torch.where(speed > 0, 1 + (speed - 1) * len(WAYS) + way, 0)

    def velocities(self) -> Tensor:
        """``[classes, 3]`` metres a second: the direction of each class at 1.5 times its least speed."""
        return _centres(WAYS, self.speeds)

    def drawn(self, classes: Tensor) -> Tensor:
        """``[..., g, g]`` classes to ``[..., 3, g, g]`` RGB in [0, 1]: velocity right, down and ahead about grey."""
        velocity = self.velocities().to(classes.device)[classes].movedim(-1, -3)
        return 0.5 + velocity / (3 * self.speeds[-1])


WAYS = torch.tensor([way for way in product((-1.0, 0.0, 1.0), repeat=3) if any(way)])
WAYS = WAYS / WAYS.norm(dim=1, keepdim=True)  # [26, 3] x right, y down, z ahead


def _centres(ways: Tensor, speeds: tuple[float, ...]) -> Tensor:
    """``[classes, 2 or 3]`` the velocity that stands for each class: its direction at 1.5 times its least speed."""
    return torch.cat([ways.new_zeros(1, ways.shape[1]), *(1.5 * speed * ways for speed in speeds)])


def scene_flow(flow: Array, depth: tuple[Array, Array], intrinsics: tuple[NDArray, NDArray]) -> Array:
    """Motion in space of what each pixel shows: flow in three dimensions.

    Each pixel is lifted to its depth before and after; the later depth is that of the nearest pixel to where the flow
    leads. Points are in the axes of the camera at either moment (x right, y down, z ahead), so that a moving camera
    moves what stands still.

    Args:
        flow: ``[2, H, W]`` pixels to the right and down.
        depth: two ``[H, W]`` along the camera's axis, before and after; 0 where it is not known.
        intrinsics: two ``[3, 3]`` from camera axes to pixels, before and after.

    Returns:
        ``[3, H, W]`` in the unit of the depth; NaN where a depth is not known or the flow leads out of the picture.
    """
    height, width = depth[0].shape
    rows, columns = np.indices((height, width), dtype=np.float32)
    across, down = columns + flow[0], rows + flow[1]
    with np.errstate(invalid="ignore"):
        x, y = np.rint(across).astype(np.int64), np.rint(down).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    later = np.where(inside, depth[1][y.clip(0, height - 1), x.clip(0, width - 1)], 0)
    before = _lifted(columns, rows, depth[0], intrinsics[0])
    after = _lifted(across, down, later, intrinsics[1])
    return np.where((depth[0] > 0) & (later > 0), after - before, np.nan).astype(np.float32)


def _lifted(across: Array, down: Array, depth: Array, intrinsics: NDArray) -> NDArray:
    rays = np.einsum("ij,jhw->ihw", np.linalg.inv(intrinsics), np.stack([across, down, np.ones_like(across)]))
    return rays * depth


def flow_picture(flow: Tensor, full: float) -> Tensor:
    """Flow as colours: the hue is the direction, the brightness the length.

    Args:
        flow: ``[..., 2, H, W]``.
        full: length that is shown at full brightness.

    Returns:
        ``[..., 3, H, W]`` RGB in [0, 1]; black stands still.
    """
    across, down = flow.float().unbind(-3)
    hue = torch.atan2(down, across)[..., None, :, :] + flow.new_tensor([0, -2, 2])[:, None, None] * (math.pi / 3)
    bright = (flow.norm(dim=-3) / full).clamp(max=1)[..., None, :, :]
    return bright * (0.5 + 0.5 * hue.cos())
