"""Framing: where a tracked face, mouth or person lies in each frame, and how it is cut out."""

from __future__ import annotations

from typing import NamedTuple, get_args

import cv2
import numpy as np

from avssl.avsync.options import Crops
from avssl.avsync.options_people import Name
from avssl.avsync.tracks import LEFT_EYE, RIGHT_EYE, Track, crops, smoothed
from avssl.media.regions import Part

UPRIGHT = ", upright"  # added to the name of the part in `Part` where crops are aligned


class Framing(NamedTuple):
    """What crops of a tracked face show, see `avssl.avsync.options.Crops`."""

    part: str  # face, mouth or person
    margin: float
    smooth: float  # seconds
    aligned: bool
    size: int  # pixels of height and width

    def shown(self) -> Part:
        """Return what is noted beside crops, and with a run that learns from them."""
        return Part(self.part + UPRIGHT * self.aligned, self.margin)

    def showing(self, wanted: Part) -> Framing:
        """Return the framing that shows what a run learnt from.

        Raises:
            ValueError: if that is no part of a face.
        """
        part = wanted.of.removesuffix(UPRIGHT)
        if part not in get_args(Name):
            raise ValueError(f"{part!r} is no part of a face that is tracked: expected {', '.join(get_args(Name))}")
        return self._replace(part=part, aligned=part != wanted.of, margin=wanted.margin)


def framing_of(options: Crops) -> Framing:
    """Return what the options cut out; the face if they name no part."""
    return Framing(options.part or "face", options.margin, options.smooth, options.aligned, options.size)


def framing_for(part: Part, size: int) -> Framing:
    """Return what shows a part of tracked faces, ``size`` x ``size``, smoothed as crops are by default.

    Raises:
        ValueError: if it is no part of a face.
    """
    return framing_of(Crops(size=size)).showing(part)


def placements(track: Track, part: str, margin: float, smooth: float, aligned: bool, size: int) -> np.ndarray:
    """Return ``[T, 2, 3]`` the affine maps from a frame's pixels to those of its crop, ``size`` x ``size``.

    ``aligned`` crops are turned so that the face is upright: by the similarity that takes its five points nearest to
    their mean over the track, with the eyes level (least squares, Umeyama 1991), smoothed over time as the centre is.
    """
    squares = crops(track, part, margin, smooth)
    scale = size / squares[:, 2]  # [T]
    angle = _tilt(track, smooth) if aligned else np.zeros(len(squares))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)  # [T, 2, 2], by minus the angle
    centre = squares[:, :2]
    if aligned and part == "person":  # below the face along its own axis
        middle = track.boxes[:, :2] + track.boxes[:, 2:] / 2
        down = smoothed(0.75 * track.boxes[:, 3], smooth)[:, None]
        centre = smoothed(middle, smooth) + down * np.stack([-np.sin(angle), np.cos(angle)], -1)
    offset = size / 2 - np.einsum("tij,tj->ti", turn, centre)
    return np.concatenate([turn, offset[:, :, None]], axis=2)


def _tilt(track: Track, smooth: float) -> np.ndarray:
    """Return ``[T]`` radians by which the face is tilted clockwise, as seen."""
    points = track.points - track.points.mean(axis=1, keepdims=True)  # [T, 5, 2]
    mean = points.mean(axis=0)
    along = mean[LEFT_EYE] - mean[RIGHT_EYE]
    level = np.arctan2(along[1], along[0])
    dot = (points * mean).sum((1, 2))
    cross = (mean[:, 0] * points[:, :, 1] - mean[:, 1] * points[:, :, 0]).sum(1)
    return smoothed(np.unwrap(np.arctan2(cross, dot)), smooth) + level


def warp(frame: np.ndarray, placement: np.ndarray, size: int) -> np.ndarray:
    """Return ``[size, size, 3]`` uint8: what a placement cuts out of a frame; black beyond it.

    Where the crop is smaller than what it shows, that is cut out at the frame's own scale and then averaged, so that
    nothing is skipped.
    """
    scale = float(np.hypot(placement[0, 0], placement[1, 0]))
    if scale >= 1:
        return cv2.warpAffine(frame, placement, (size, size), flags=cv2.INTER_LINEAR)
    side = round(size / scale)
    whole = cv2.warpAffine(frame, placement / scale, (side, side), flags=cv2.INTER_LINEAR)
    return cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
