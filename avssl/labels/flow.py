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
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avssl.labels.recorded import RecordedDepth
from avssl.media import VideoInfo
from avssl.pixels import LUMA

Array = NDArray[np.float32]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run OpenCV on the calling thread only: workers must not compete for cores, and sums keep their order."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def grey(frames: Tensor) -> NDArray[np.uint8]:
    """Convert ``[..., 3, H, W]`` uint8 RGB to ``[..., H, W]`` uint8 luma (BT.601)."""
    return torch.einsum("...chw,c->...hw", frames.float(), torch.tensor(LUMA)).round_().byte().numpy()


def dis_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Array:
    """Compute flow between two ``[H, W]`` uint8 grey images by dense inverse search (Kroeger et al., ECCV 2016).

    Returns:
        ``[2, H, W]`` float32 pixels to the right and down, at full resolution.
    """
    height, width = first.shape
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    with one_thread():
        enlarged = max(1, math.ceil(64 / min(height, width)))  # the search needs a minimum size
        size = (width * enlarged, height * enlarged)
        large = [cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) for picture in (first, second)]
        flow = search.calc(large[0], large[1], None)  # [h, w, 2]
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / enlarged
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)


@dataclass(frozen=True)
class OpticalFlow:
    """Flow from each frame to the next: ``[N, T - 1, 2, H, W]`` float32 pixels to the right and down."""

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to their flow."""
        pictures = grey(frames)  # [N, T, H, W]
        flows = [[dis_flow(*pair) for pair in pairwise(clip)] for clip in pictures]
        return torch.from_numpy(np.array(flows))


@dataclass(frozen=True)
class AtomicFlow:
    """Flow quantised in space, direction and speed (after Luo et al., CVPR 2017, section 3).

    The image is divided into cells; the mean velocity of each is class 0 if slower than the first of ``speeds``, and
    otherwise one of ``directions`` classes per speed interval. The paper quantises 3D flow; from RGB alone there are
    two dimensions. Velocities are in image widths per second, so that classes are independent of size and frame rate.

    Args:
        grid: cells per side.
        directions: number of directions; the first is centred on the right, and they run clockwise.
        speeds: lower limits of the speed intervals, in image widths per second, ascending.
    """

    grid: int = 16
    directions: int = 8
    speeds: tuple[float, ...] = (0.06, 0.3)

    @property
    def classes(self) -> int:
        """Number of classes: rest, and each direction at each speed."""
        return 1 + self.directions * len(self.speeds)

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to classes ``[N, T - 1, grid, grid]`` int64, from each to the next."""
        flow = OpticalFlow()(frames, times, info)  # [N, T - 1, 2, H, W]
        cells = F.adaptive_avg_pool2d(flow.flatten(0, 1), self.grid).unflatten(0, flow.shape[:2])
        seconds = times.diff(dim=1).float()[..., None, None, None]  # [N, T - 1, 1, 1, 1]
        return self.quantise(cells / (frames.shape[-1] * seconds))

    def quantise(self, velocity: Tensor) -> Tensor:
        """Map velocity ``[..., 2, g, g]`` in image widths per second to classes ``[..., g, g]`` int64."""
        across, down = velocity.unbind(-3)
        speed = torch.bucketize(velocity.norm(dim=-3), velocity.new_tensor(self.speeds), right=True)  # 0: still
        sector = torch.atan2(down, across) * (self.directions / (2 * math.pi))
        sector = sector.round().long() % self.directions
        return torch.where(speed > 0, 1 + (speed - 1) * self.directions + sector, 0)

    def velocities(self) -> Tensor:
        """Return each class's centre ``[classes, 2]`` in image widths per second, at 1.5 times its lowest speed."""
        angle = torch.arange(self.directions) * (2 * math.pi / self.directions)
        return _centres(torch.stack([angle.cos(), angle.sin()], dim=1), self.speeds)

    def to_rgb(self, classes: Tensor) -> Tensor:
        """Show classes ``[..., g, g]`` as RGB ``[..., 3, g, g]`` in [0, 1]: hue for direction, brightness for speed."""
        flow = self.velocities().to(classes.device)[classes].movedim(-1, -3)
        return flow_picture(flow, 1.5 * self.speeds[-1])


@dataclass(frozen=True)
class AtomicSceneFlow:
    """3D flow quantised in position, direction and speed, from recorded depth (Luo et al., CVPR 2017, section 3).

    The image is divided into cells; the median velocity of each (`scene_flow`) is class 0 if slower than the first of
    ``speeds``, and otherwise one of the 26 directions to the neighbours in a 3 x 3 x 3 cube per speed interval. A cell
    without known depth counts as still.

    Args:
        grid: cells per side; must divide the image's height and width.
        speeds: lower limits of the speed intervals, in metres per second, ascending.
        focal: focal length in image widths.
        maps: location of the depth maps, see `RecordedDepth`.
        unit: metres per unit of the depth maps.
    """

    grid: int = 16
    speeds: tuple[float, ...] = (0.5,)
    focal: float = 1.0
    maps: Path | None = None
    unit: float = 0.001

    @property
    def classes(self) -> int:
        """Number of classes: rest, and each direction at each speed."""
        return 1 + len(WAYS) * len(self.speeds)

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to classes ``[N, T - 1, grid, grid]`` int64, from each to the next.

        Raises:
            ValueError: if the image can't be divided into the cells, and as `RecordedDepth`.
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
        return self.quantise(self.by_cells(torch.from_numpy(moved)) / seconds)

    def by_cells(self, moved: Tensor) -> Tensor:
        """Return the median of the known values in each cell of ``[..., H, W]``, ``[..., grid, grid]``; NaN if none."""
        cells = rearrange(moved, "... (h p) (w q) -> ... h w (p q)", h=self.grid, w=self.grid)
        return cells.nanmedian(-1).values

    def quantise(self, velocity: Tensor) -> Tensor:
        """Map ``[..., 3, g, g]`` metres per second, right, down, ahead (NaN: unknown), to classes ``[..., g, g]``."""
        velocity = velocity.nan_to_num(0)
        speed = torch.bucketize(velocity.norm(dim=-3), velocity.new_tensor(self.speeds), right=True)
        way = torch.einsum("...chw,kc->...khw", velocity, WAYS).argmax(-3)
        return torch.where(speed > 0, 1 + (speed - 1) * len(WAYS) + way, 0)

    def velocities(self) -> Tensor:
        """Return each class's centre ``[classes, 3]`` in metres per second, at 1.5 times its lowest speed."""
        return _centres(WAYS, self.speeds)

    def to_rgb(self, classes: Tensor) -> Tensor:
        """Show classes ``[..., g, g]`` as RGB ``[..., 3, g, g]`` in [0, 1]: velocity right, down and ahead on grey."""
        velocity = self.velocities().to(classes.device)[classes].movedim(-1, -3)
        return 0.5 + velocity / (3 * self.speeds[-1])


WAYS = torch.tensor([way for way in product((-1.0, 0.0, 1.0), repeat=3) if any(way)])
WAYS = WAYS / WAYS.norm(dim=1, keepdim=True)  # [26, 3] x right, y down, z ahead


def _centres(ways: Tensor, speeds: tuple[float, ...]) -> Tensor:
    """Return the velocity of each class ``[classes, 2 or 3]``: its direction at 1.5 times its lowest speed."""
    return torch.cat([ways.new_zeros(1, ways.shape[1]), *(1.5 * speed * ways for speed in speeds)])


def scene_flow(flow: Array, depth: tuple[Array, Array], intrinsics: tuple[NDArray, NDArray]) -> Array:
    """Compute 3D motion per pixel.

    Each pixel is back-projected before and after; the later depth is that of the pixel nearest to the flow's end point.
    Points are in the camera's axes at the respective time (x right, y down, z ahead), so a moving camera moves static
    objects.

    Args:
        flow: ``[2, H, W]`` pixels to the right and down.
        depth: two ``[H, W]`` along the camera's axis, before and after; 0 where unknown.
        intrinsics: two ``[3, 3]`` from camera axes to pixels, before and after.

    Returns:
        ``[3, H, W]`` in the unit of the depth; NaN where a depth is unknown or the flow leaves the image.
    """
    height, width = depth[0].shape
    rows, columns = np.indices((height, width), dtype=np.float32)
    across, down = columns + flow[0], rows + flow[1]
    with np.errstate(invalid="ignore"):
        x, y = np.rint(across).astype(np.int64), np.rint(down).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    later = np.where(inside, depth[1][y.clip(0, height - 1), x.clip(0, width - 1)], 0)
    before = _back_project(columns, rows, depth[0], intrinsics[0])
    after = _back_project(across, down, later, intrinsics[1])
    return np.where((depth[0] > 0) & (later > 0), after - before, np.nan).astype(np.float32)


def _back_project(across: Array, down: Array, depth: Array, intrinsics: NDArray) -> NDArray:
    rays = np.einsum("ij,jhw->ihw", np.linalg.inv(intrinsics), np.stack([across, down, np.ones_like(across)]))
    return rays * depth


def flow_picture(flow: Tensor, full: float) -> Tensor:
    """Show flow ``[..., 2, H, W]`` as RGB ``[..., 3, H, W]`` in [0, 1]; ``full`` is the length at full brightness.

    Hue is the direction and brightness the length: black is at rest.
    """
    across, down = flow.float().unbind(-3)
    hue = torch.atan2(down, across)[..., None, :, :] + flow.new_tensor([0, -2, 2])[:, None, None] * (math.pi / 3)
    bright = (flow.norm(dim=-3) / full).clamp(max=1)[..., None, :, :]
    return bright * (0.5 + 0.5 * hue.cos())
