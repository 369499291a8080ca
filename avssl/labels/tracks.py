"""Tracks of moving patches: where the part of a clip that moves most is at its beginning, and where at its end."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.labels.camera import homography, homography_flow
from avssl.labels.flow import Array, dis_flow, grey, one_thread
from avssl.media import VideoInfo

POINTS = 12  # per side of a window, at most
LOST = (0.0, 0.0, 0.0, 0.0)  # the boxes of a clip without a track


@dataclass(frozen=True)
class Tracks:
    """A square window on what moves, in the first and in the last frame of each clip (Wang & Gupta, ICCV 2015, 3.1).

    The window begins where the mean speed against the camera is largest: the flow between the first two frames minus
    the homography that most of it agrees with. In it, the points that move at least half as fast as the fastest are
    followed from frame to frame by sparse optical flow (Bouguet's pyramidal Lucas-Kanade), and back again: a point that
    does not return to where it came from is dropped (forward-backward error). The window moves by the median of the
    points that are left.

    A clip has no track if nothing moves fast enough, if most of the window moves (the camera is then badly known), if
    too few points are left or if the window leaves the picture.

    The paper selects windows by moving SURF points of improved dense trajectories and follows them by KCF.

    Args:
        window: side of the window, as a share of the frame's shorter side (paper: 227 pixels).
        least: lowest mean speed of a window in frame widths per second.
        most: largest share of a window's points that may move (paper: 3/4).
        error: largest forward-backward error of a step, as a share of the window's side.
        kept: least share of the points that must be left at the end.
    """

    window: float = 0.36
    least: float = 0.03
    most: float = 0.9
    error: float = 0.04
    kept: float = 0.4

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to boxes ``[N, 2, 4]`` float32 in the first and the last frame.

        A box is left, top, right and bottom in pixels; without a track all are 0.

        Raises:
            ValueError: if clips have fewer than two frames.
        """
        if frames.shape[1] < 2:
            raise ValueError("Tracks: needs clips of at least 2 frames, got 1; set sampler.num_frames")
        clips = zip(grey(frames), times.tolist(), strict=True)
        return torch.from_numpy(np.stack([self._track(clip, seconds) for clip, seconds in clips]))

    def _track(self, clip: NDArray[np.uint8], seconds: list[float]) -> Array:
        lost = np.array([LOST, LOST], np.float32)
        height, width = clip.shape[1:]
        side = round(self.window * min(height, width))
        speed = _speed(clip[0], clip[1]) / (width * max(seconds[1] - seconds[0], 1e-6))
        left, top = fastest(speed, side)
        inside = speed[top : top + side, left : left + side]
        moving = inside >= max(inside.max() / 2, self.least)
        if inside.mean() < self.least or moving.mean() > self.most:
            return lost
        begin = _grid(moving, side) + np.array([left, top], np.float32)
        points, alive = begin, np.ones(len(begin), bool)
        for before, after in pairwise(clip):
            points, returned = _followed(before, after, points, side)
            alive &= returned <= self.error * side
        if alive.mean() < self.kept:
            return lost
        shift = np.median(points[alive] - begin[alive], axis=0)
        corner = np.array([left, top]) + shift
        room = np.array([width, height]) - side
        if (np.abs(corner - corner.clip(0, room)) > side / 4).any():
            return lost
        starts = np.stack([[left, top], corner.clip(0, room)])
        return np.concatenate([starts, starts + side], axis=1).astype(np.float32)


def _speed(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Array:
    """Return by how many pixels each point moves against the camera ``[H, W]``."""
    flow = dis_flow(first, second)
    camera = homography(flow)
    rest = flow if camera is None else flow - homography_flow(camera, (first.shape[0], first.shape[1]))
    with one_thread():
        return np.asarray(cv2.medianBlur(np.hypot(*rest).astype(np.float32), 3), np.float32)


def fastest(speed: Array, side: int) -> tuple[int, int]:
    """Return left and top of the window of ``side`` pixels within ``[H, W]`` whose mean speed is largest."""
    sums = np.pad(speed.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    means = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(means.argmax(), means.shape)
    return int(left), int(top)


def _grid(moving: NDArray[np.bool_], side: int) -> Array:
    """Return ``[P, 2]`` points x, y on a grid over a window, where it moves."""
    steps = np.linspace(0, side - 1, min(POINTS, side)).round().astype(int)
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    here = moving[rows, columns]
    if not here.any():
        rows, columns = np.nonzero(moving)
        here = np.ones(len(rows), bool)
    return np.stack([columns[here], rows[here]], axis=1).astype(np.float32)


def _followed(before: NDArray[np.uint8], after: NDArray[np.uint8], points: Array, side: int) -> tuple[Array, Array]:
    """Follow ``[P, 2]`` points to the next frame; also return how far from them the way back ends, ``[P]`` pixels."""
    reach = max(5, side // 4 * 2 + 1)
    window, begin = (reach, reach), points[:, None]
    with one_thread():
        later, found, _ = cv2.calcOpticalFlowPyrLK(before, after, begin, begin.copy(), winSize=window, maxLevel=3)
        again, back, _ = cv2.calcOpticalFlowPyrLK(after, before, later, later.copy(), winSize=window, maxLevel=3)
    error = np.linalg.norm((again - begin)[:, 0], axis=1).astype(np.float32)
    return np.asarray(later[:, 0], np.float32), np.where((found & back)[:, 0] > 0, error, np.float32(np.inf))
