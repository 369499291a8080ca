"""Drawing the mesh of a face: which triangle a pixel shows, where in it the pixel is, and how the light falls."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.face_mesh import Array, face_mesh
from avssl.synthetic.looks import Image


def triangles_of(points: Array, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Return which triangle of the mesh each pixel of a picture shows ``[H, W]``, -1 for none; points ``[V, 3]``."""
    shown = np.full((shape[0], shape[1]), -1, np.int32)
    corners = points[face_mesh().triangles]  # [F, 3, 3]
    fixed = np.round(corners[..., :2] * 16).astype(np.int32)
    front = facing(corners) > 0
    for number in np.argsort(corners[..., 2].mean(1), kind="stable"):  # from the farthest
        if front[number]:
            cv2.fillConvexPoly(shown, fixed[number], int(number), lineType=8, shift=4)
    return shown


def facing(corners: Array) -> Array:
    """Return twice the area of triangles ``[F, 3, 2 or 3]`` in the picture, negative where seen from behind."""
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])


def inside(corners: Array, numbers: NDArray[Any], x: Image, y: Image) -> Image:
    """Return barycentric weights ``[P, 3]`` float32 of pixels x, y ``[P]`` in their triangles of ``[F, 3, 2 or 3]``."""
    area = facing(corners)
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    first, second, third = (corners[:, corner, :2] for corner in range(3))

    def line(start: Array, stop: Array) -> Array:
        """Return the share of the corner opposite to an edge: coefficients ``[F, 3]`` of x, y and 1."""
        way = stop - start
        return np.stack([-way[:, 1], way[:, 0], way[:, 1] * start[:, 0] - way[:, 0] * start[:, 1]], 1) / area[:, None]

    lines = np.stack([line(second, third), line(third, first), line(first, second)], axis=1)
    lines = lines.astype(np.float32)[numbers]  # [P, 3, 3]
    weights = np.clip(lines[..., 0] * x[:, None] + lines[..., 1] * y[:, None] + lines[..., 2], 0, 1)
    return np.asarray(weights / weights.sum(1, keepdims=True).clip(1e-9))


def normals(points: Array) -> Array:
    """Return unit normals ``[V, 3]`` of the mesh's points, towards the camera for a face that looks at it."""
    triangles = face_mesh().triangles
    first, second, third = (points[triangles[:, corner]] for corner in range(3))
    across = np.cross(second - first, third - first)
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], across)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-9))
