"""A pinhole camera that drifts, rotates and zooms smoothly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FOCAL = 1.15  # focal length in image widths, before zooming
AIM = np.array([0.0, -1.0, 4.7])  # the point that cameras look at before they drift, in metres


class EgoMotion(NamedTuple):
    """Motion of the camera between two times.

    A point with camera coordinates p at the first time has ``R @ (p - translation)`` at the second, where R is the
    *inverse* of the camera's own rotation: ``R = cv2.Rodrigues(rotation)[0].T``. Camera axes: x right, y down, z ahead.

    Attributes:
        rotation: ``[3]`` rotation of the camera, axis times radians, in the axes of the first time.
        translation: ``[3]`` metres, in the axes of the first time.
        zoom: focal length at the second time over that at the first.
    """

    rotation: Array
    translation: Array
    zoom: float


@dataclass(frozen=True)
class Camera:
    """The path of a camera: a home pose, and one slow sine for each of its seven degrees of freedom."""

    home: Array  # [3] home position in metres
    facing: Array  # [3] home yaw (to the right), pitch (down) and roll in radians
    sway: Array  # [3, 7] amplitude, Hz and phase for X, Y, Z (metres), yaw, pitch, roll (radians) and log zoom
    size: int  # height and width of the image in pixels

    @classmethod
    def draw(cls, rng: np.random.Generator, view: int, size: int) -> Camera:
        """Draw a camera; view 1 stands well to the side of view 0, and both see the whole scene."""
        side = rng.choice([-1, 1]) * rng.uniform(1.5, 2.3) if view else rng.uniform(-0.4, 0.4)
        home = np.array([side, rng.uniform(-2.7, -2.3), rng.uniform(-0.2, 0.2) + 0.1 * side**2])
        ahead = AIM - home
        facing = np.array([np.arctan2(ahead[0], ahead[2]), np.arctan2(ahead[1], np.hypot(ahead[0], ahead[2])), 0.0])
        largest = np.array([0.3, 0.12, 0.3, 0.05, 0.03, 0.05, 0.06])
        sway = np.stack([largest * rng.uniform(0.4, 1.0, 7), rng.uniform(0.08, 0.25, 7), rng.uniform(0, 2 * np.pi, 7)])
        return cls(home, facing, sway, size)

    def _moved(self, t: float) -> Array:
        amplitude, hertz, phase = self.sway
        return amplitude * np.sin(2 * np.pi * hertz * t + phase)

    def position(self, t: float) -> Array:
        """Return the position ``[3]`` in world metres."""
        return self.home + self._moved(t)[:3]

    def rotation(self, t: float) -> Array:
        """Return the rotation ``[3, 3]`` from world axes to camera axes."""
        yaw, pitch, roll = self.facing + self._moved(t)[3:6]
        about_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_z = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return about_z @ about_x @ about_y

    def intrinsics(self, t: float) -> Array:
        """Return ``[3, 3]`` from camera axes to pixels; pixel centres have integer coordinates."""
        focal = FOCAL * self.size * np.exp(self._moved(t)[6])
        middle = (self.size - 1) / 2
        return np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])

    def projection(self, t: float) -> Array:
        """Return ``[3, 4]`` from homogeneous world points to depth times (x, y, 1), in metres and pixels."""
        turned = self.rotation(t)
        return self.intrinsics(t) @ np.column_stack([turned, -turned @ self.position(t)])

    def ego_motion(self, t0: float, t1: float) -> EgoMotion:
        """Return the camera's motion from t0 to t1 (seconds)."""
        first, second = self.rotation(t0), self.rotation(t1)
        turn = cv2.Rodrigues(first @ second.T)[0][:, 0]
        shift = first @ (self.position(t1) - self.position(t0))
        return EgoMotion(turn, shift, float(np.exp(self._moved(t1)[6] - self._moved(t0)[6])))
