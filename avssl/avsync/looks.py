"""Looks of a face in one frame: how blurred it is, and its colours, by which a track knows it again."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 64  # pixels to which larger faces are scaled down before their blur is measured
LOW = 9  # pixels over which the blurred copy is averaged
COLOURS = 4  # levels of each of three colours
EDGE = 8  # pixels; of smaller faces neither is measured


def face_of(frame: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return ``[h, w, 3]`` the part of a frame ``[H, W, 3]`` in a box (left, top, width, height)."""
    left, top = (max(0, round(float(edge))) for edge in box[:2])
    right, bottom = (round(float(edge)) for edge in box[:2] + box[2:])
    return frame[top:bottom, left:right]


def blur_of(face: np.ndarray) -> float:
    """Return how blurred a face is, from 0 to 1, whatever its contrast and light.

    The measure of Crete et al. (2007), "The blur effect": blurring a sharp picture takes away most of the difference
    between neighbouring pixels, blurring a blurred one hardly any. It is taken along rows and columns, of which the
    more blurred counts, as motion blurs in one direction.

    Args:
        face: ``[h, w, 3]`` uint8 RGB.
    """
    if min(face.shape[:2]) < EDGE:
        return 1.0
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = SIDE / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    worst = 0.0
    for axis, kernel in ((0, (1, LOW)), (1, (LOW, 1))):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(cv2.blur(grey, kernel, borderType=cv2.BORDER_REPLICATE), axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        worst = max(worst, (total - lost) / total if total > 0 else 1.0)
    return worst


def colours_of(face: np.ndarray) -> np.ndarray:
    """Return ``[64]`` the square roots of the shares of 4 x 4 x 4 colours; the scalar product of two is their likeness.

    It is the Bhattacharyya coefficient, 1 for equal shares.
    """
    if min(face.shape[:2]) < EDGE:
        return np.zeros(COLOURS**3, np.float32)
    levels = face.reshape(-1, 3).astype(np.int64) * COLOURS // 256
    counts = np.bincount(levels @ (COLOURS**2, COLOURS, 1), minlength=COLOURS**3)
    return np.sqrt(counts / counts.sum()).astype(np.float32)
