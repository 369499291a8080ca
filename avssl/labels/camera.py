"""The camera's part of a flow field: a homography, or rotation, zoom and parallax."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.labels.flow import Array, one_thread

Doubles = NDArray[np.float64]
GRID = 14  # points per side at which a camera is fitted to a flow field
DIRECTIONS = 120  # candidate directions of translation
NEARBY = 24  # candidates around the best direction
NEARER = (0.2, 0.06)  # their spread in successive rounds, as the tangent of the angle
ROUNDS = 6  # rounds of reweighting per candidate


def homography(flow: Array, tolerance: float = 0.004) -> Doubles | None:
    """Fit the homography that most of a flow field agrees with (RANSAC with fixed draws).

    Args:
        flow: ``[2, H, W]`` pixels to the right and down.
        tolerance: largest error of an inlier in image widths; at least half a pixel is allowed.

    Returns:
        ``[3, 3]`` from pixels before to pixels after, or None if no homography explains the flow.
    """
    width = flow.shape[2]
    before, moved = _sampled(flow)
    with one_thread():
        found, _ = cv2.findHomography(before, before + moved, cv2.RANSAC, max(0.5, tolerance * width), maxIters=300)
    return found


def homography_flow(matrix: Doubles, size: tuple[int, int]) -> Array:
    """Return the flow ``[2, H, W]`` of a homography over an image of (H, W)."""
    rows, columns = np.indices(size, dtype=np.float64)
    x, y, w = np.einsum("ij,jhw->ihw", matrix, np.stack([columns, rows, np.ones(size)]))
    return np.stack([x / w - columns, y / w - rows]).astype(np.float32)


class CameraFit(NamedTuple):
    """The decomposition of a flow field (see `fit_camera`).

    Attributes:
        turn: ``[4]`` the camera's own rotation, axis times radians (x right, y down, z ahead: up, to the right and
            clockwise), and the logarithm of its zoom, as far as it can be told from moving ahead.
        direction: ``[3]`` unit vector of the camera's translation (x right, y down, z ahead).
        closeness: ``[H, W]`` inverse depth, up to a factor; negative where the flow contradicts the camera's motion.
        parallax: ``[H, W]`` pixels by which a point of unit closeness moves: where small, closeness is unknown.
        residual: ``[H, W]`` flow in pixels perpendicular to the motion due to the camera's translation, which no depth
            explains.
    """

    turn: Doubles
    direction: Doubles
    closeness: Array
    parallax: Array
    residual: Array


def fit_camera(flow: Array, focal: float = 1.0) -> CameraFit:
    """Fit rotation, zoom, direction and inverse depth to a flow field (Heeger and Jepson, IJCV 1992).

    A small camera motion moves a point at x by ``B(x) turn + A(x) direction / depth``. For each candidate direction,
    ``turn`` is fitted to the flow *perpendicular* to ``A(x) direction``, which is independent of depth, by reweighted
    least squares; the direction with the smallest median residual wins. Its sign is the one that puts more of the image
    in front of the camera.

    Args:
        flow: ``[2, H, W]`` pixels to the right and down.
        focal: focal length in image widths; a wrong one biases the rotation slightly.
    """
    height, width = flow.shape[1:]
    points, moved = _sampled(flow)
    turning, shifting = _bases(points, width, height, focal)  # [P, 2, 4], [P, 2, 3]
    turn, direction = _explained(turning, shifting, moved, _directions())
    for reach in NEARER:
        aside = np.linalg.svd(direction[None])[2][1:]  # [2, 3], perpendicular to the direction
        near = direction + reach * _directions()[:NEARBY, :2] / np.sqrt(1 - _directions()[NEARBY - 1, 2] ** 2) @ aside
        turn, direction = _explained(turning, shifting, moved, near / np.linalg.norm(near, axis=1, keepdims=True))

    rows, columns = np.indices((height, width), dtype=np.float64)
    turning, shifting = _bases(np.stack([columns.ravel(), rows.ravel()], 1), width, height, focal)
    rest = flow.reshape(2, -1).T - turning @ turn  # [H W, 2]
    along = shifting @ direction
    parallax = np.linalg.norm(along, axis=1)
    unit_along = along / np.maximum(parallax, 1e-6)[:, None]
    closeness = (rest * unit_along).sum(1) / np.maximum(parallax, 1e-6)
    if np.median(closeness) < 0:
        closeness, direction = -closeness, -direction
    residual = np.abs(rest[:, 0] * unit_along[:, 1] - rest[:, 1] * unit_along[:, 0])
    shaped = [values.reshape(height, width).astype(np.float32) for values in (closeness, parallax, residual)]
    return CameraFit(turn, direction, *shaped)


def _explained(turning: Doubles, shifting: Doubles, moved: Doubles, unit: Doubles) -> tuple[Doubles, Doubles]:
    """Return the rotation and zoom ``[4]`` of the direction among ``[D, 3]`` with the smallest residual, and it."""
    along_x, along_y = (unit @ shifting[:, axis].T for axis in (0, 1))  # [D, P]
    length = np.maximum(np.hypot(along_x, along_y), 1e-6)
    x, y = -along_y / length, along_x / length  # perpendicular
    left = x[:, None] * turning[:, 0].T + y[:, None] * turning[:, 1].T  # [D, 4, P]
    right = x * moved[:, 0] + y * moved[:, 1]  # [D, P]
    weight: Doubles = np.ones_like(right)
    little = 1e-6 * np.eye(4)
    little[3, 3] += 5e-5 * np.square(turning[..., 3]).sum()  # a zoom can't be told from a translation straight ahead
    for _ in range(ROUNDS):
        weighted = left * weight[:, None]
        normal = weighted @ left.transpose(0, 2, 1) + little  # [D, 4, 4]
        turns: np.ndarray = np.linalg.solve(normal, weighted @ right[..., None])  # [D, 4, 1]
        misses = np.abs(right - (turns.transpose(0, 2, 1) @ left)[:, 0])
        median = _medians(misses)
        weight = 1 / np.square(1 + np.square(misses / (1.5 * median + 1e-3)))
    best = int(median.argmin())
    return turns[best, :, 0], unit[best]


def _medians(values: Doubles) -> Doubles:
    """Return the median of each row of ``[D, P]``, ``[D, 1]``; numpy's also looks for NaN, which takes much longer."""
    half, odd = divmod(values.shape[1], 2)
    parted = np.partition(values, half, axis=1)
    upper = parted[:, half : half + 1]
    return upper if odd else (upper + parted[:, :half].max(1, keepdims=True)) / 2


def _sampled(flow: Array) -> tuple[Doubles, Doubles]:
    """Sample ``[P, 2]`` points (x, y) on a regular grid, and their motion ``[P, 2]``."""
    height, width = flow.shape[1:]
    rows = np.linspace(0, height - 1, min(GRID, height)).round().astype(int)
    columns = np.linspace(0, width - 1, min(GRID, width)).round().astype(int)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1).astype(np.float64), flow[:, y, x].reshape(2, -1).T.astype(np.float64)


def _bases(points: Doubles, width: int, height: int, focal: float) -> tuple[Doubles, Doubles]:
    """Return how points ``[P, 2]`` move per unit of rotation and zoom ``[P, 2, 4]``, and translation by depth."""
    f = focal * width
    x, y = points[:, 0] - (width - 1) / 2, points[:, 1] - (height - 1) / 2
    none, full = np.zeros_like(x), np.full_like(x, f)
    pitch = np.stack([x * y / f, f + y * y / f], 1)  # upwards: things move down
    yaw = np.stack([-(f + x * x / f), -x * y / f], 1)  # to the right: things move left
    roll = np.stack([y, -x], 1)  # clockwise: things turn anticlockwise
    zoom = np.stack([x, y], 1)
    across, down = np.stack([-full, none], 1), np.stack([none, -full], 1)
    return np.stack([pitch, yaw, roll, zoom], 2), np.stack([across, down, zoom], 2)


@lru_cache(maxsize=1)
def _directions() -> Doubles:
    """Return ``[D, 3]`` unit vectors, evenly spread over the hemisphere ahead (a Fibonacci lattice)."""
    number = np.arange(DIRECTIONS) + 0.5
    z = 1 - number / DIRECTIONS
    angle = np.pi * (3 - np.sqrt(5)) * number
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], 1)
