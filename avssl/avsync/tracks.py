"""Tracks of faces: detections in single frames linked over a shot, gaps bridged, crops placed.

Nothing here looks at pictures; `avssl.avsync.faces` detects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

from avssl.avsync.store import Record

POINTS = ("right_eye", "left_eye", "nose", "right_mouth", "left_mouth")  # of a face, as YuNet orders them
OVERLAP = 0.3  # least intersection over union of a face from frame to frame
ALIKE = 0.97  # least likeness of a face that has moved further while it wasn't found
NEAR = 1.0  # how far, in sides of its box
SCORE, BLUR, LOOKS = 14, 15, 16  # columns of a detection after box and points; from the last on, what it looks like
RIGHT_EYE, LEFT_EYE, NOSE, RIGHT_MOUTH, LEFT_MOUTH = range(len(POINTS))


@dataclass(frozen=True)
class Track:
    """A face over consecutive frames of a shot.

    Attributes:
        start: number of its first frame.
        boxes: ``[T, 4]`` left, top, width and height in pixels.
        points: ``[T, 5, 2]`` eyes, nose and corners of the mouth: x and y in pixels.
        scores: ``[T]`` of the detector, 0 where the face wasn't found and its place is bridged.
        blurs: ``[T]`` how blurred the face is, see `avssl.avsync.looks.blur_of`.
    """

    start: int
    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray
    blurs: np.ndarray

    @property
    def stop(self) -> int:
        """Number of the frame after its last."""
        return self.start + len(self.boxes)

    @property
    def side(self) -> float:
        """Median of the larger side of its boxes, in pixels."""
        return float(np.median(self.boxes[:, 2:].max(axis=1)))

    def turned(self) -> np.ndarray:
        """Return ``[T]`` degrees by which the head is turned to a side, roughly, whichever way it is tilted.

        In weak perspective the nose, which stands out from the line of the eyes by about half their distance, lies off
        its middle by the tangent of the angle, in half distances: 0 from the front, 45 degrees with the nose beside an
        eye.
        """
        right, left, nose = (self.points[:, place] for place in (RIGHT_EYE, LEFT_EYE, NOSE))
        along = left - right  # [T, 2]
        square = np.maximum((along**2).sum(axis=1), 1e-9)
        return np.degrees(np.arctan(2 * ((nose - right) * along).sum(axis=1) / square - 1))

    def part(self, start: int, stop: int) -> Track:
        """Return the track from frame ``start`` to ``stop``; where it doesn't last, at its first or last place."""
        places = np.clip(np.arange(start, stop), self.start, self.stop - 1) - self.start
        fields = (getattr(self, name)[places] for name in SERIES)
        return Track(start, *fields)


SERIES = ("boxes", "points", "scores", "blurs")  # fields of a track with a value per frame


def save_tracks(tracks: Sequence[Track], path: Path) -> None:
    """Write tracks to a file."""
    parts = {name: [getattr(track, name) for track in tracks] for name in SERIES}
    empty = {"boxes": np.zeros((0, 4)), "points": np.zeros((0, 5, 2)), "scores": np.zeros(0), "blurs": np.zeros(0)}
    arrays: dict[str, Any] = {name: np.concatenate([empty[name], *values]) for name, values in parts.items()}
    starts, stops = ([getattr(track, name) for track in tracks] for name in ("start", "stop"))
    with open(path, "wb") as file:
        np.savez(file, start=np.array(starts, np.int64), stop=np.array(stops, np.int64), **arrays)


def load_tracks(path: Path) -> list[Track]:
    """Read tracks that :func:`save_tracks` wrote."""
    with np.load(path, allow_pickle=False) as fields:
        start, stop = fields["start"], fields["stop"]
        edges = np.cumsum(stop - start)[:-1]
        parts = [np.split(fields[name], edges) if len(start) else [] for name in SERIES]
    return [Track(int(first), *own) for first, *own in zip(start, *parts, strict=True)]


def present(tracks: Sequence[Track], start: int, stop: int, share: float) -> list[int]:
    """Return the places of the tracks that last for a share of the frames from ``start`` to ``stop``."""
    needed = share * (stop - start)
    return [n for n, track in enumerate(tracks) if min(track.stop, stop) - max(track.start, start) >= needed]


def boxes_of(clip: str, tracks: Sequence[Track], start: int, stop: int) -> list[Record]:
    """Return a row per face and frame of a clip that begins at frame ``start`` of its recording: ``pack.TRACKS``."""
    rows = []
    for number, track in enumerate(tracks):
        for frame in range(max(start, track.start), min(stop, track.stop)):
            place = frame - track.start
            row: Record = {
                "clip": clip,
                "track": number,
                "frame": frame - start,
                "found": bool(track.scores[place] > 0),
            }
            row |= dict(zip(("left", "top", "width", "height"), track.boxes[place].tolist(), strict=True))
            for name, (x, y) in zip(POINTS, track.points[place].tolist(), strict=True):
                row |= {f"{name}_x": x, f"{name}_y": y}
            rows.append(row)
    return rows


def link(found: Sequence[np.ndarray], cuts: Sequence[int], gap: int, shortest: int) -> list[Track]:
    """Link detections of consecutive frames to tracks, in the order of their first frames and from left to right.

    In each frame, boxes are paired with those of the tracks where they overlap most and look most alike in total
    (Hungarian method); a pair with an overlap below 0.3 is none. A track that isn't seen for up to ``gap`` frames goes
    on where it is seen again, overlapping with where it was, or up to a side of its box away if it looks the same; its
    boxes in between are interpolated. No track crosses a cut.

    Args:
        found: for each frame, ``[N, 15 + K]`` detections: box, five points, score (as OpenCV's FaceDetectorYN gives
            them), and how blurred each is and what it looks like (a vector of unit length), if that is known.
        cuts: numbers of the frames that begin a shot.
        gap: largest number of frames bridged.
        shortest: least number of frames of a track.
    """
    begins, done = set(cuts), list[list[tuple[int, np.ndarray]]]()
    active: list[list[tuple[int, np.ndarray]]] = []
    for number, faces in enumerate(found):
        over = [track for track in active if number in begins or number - track[-1][0] > gap + 1]
        done += over
        active = [track for track in active if not any(track is other for other in over)]
        pairs = _paired([track[-1] for track in active], faces, number)
        for place, face in pairs.items():
            active[place].append((number, faces[face]))
        new = sorted(set(range(len(faces))) - set(pairs.values()), key=lambda face: (faces[face][0], faces[face][1]))
        active += [[(number, faces[face])] for face in new]
    done += active
    tracks = [_bridged(track) for track in done]
    tracks = [track for track in tracks if len(track.boxes) >= shortest]
    return sorted(tracks, key=lambda track: (track.start, *track.boxes[0].tolist()))


def _paired(before: Sequence[tuple[int, np.ndarray]], faces: np.ndarray, number: int) -> dict[int, int]:
    """Return the face of each track that is seen again in frame ``number``, by their places."""
    if not before or not len(faces):
        return {}
    overlap = np.array([[overlap_of(old[:4], new[:4]) for new in faces] for _, old in before])  # [T, N]
    alike = np.stack([old[LOOKS:] for _, old in before]) @ faces[:, LOOKS:].T  # [T, N], 0 if nothing is known
    lost = np.array([seen < number - 1 for seen, _ in before])
    moved = np.array([[_distance(old[:4], new[:4]) for new in faces] for _, old in before])
    possible = (overlap >= OVERLAP) | (lost[:, None] & (alike >= ALIKE) & (moved <= NEAR))
    rows, columns = linear_sum_assignment(-np.where(possible, 1 + overlap + alike, 0.0))
    return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if possible[r, c]}


def _distance(one: np.ndarray, two: np.ndarray) -> float:
    """Return how far apart the middles of two boxes are, in sides of the first."""
    middles = one[:2] + one[2:] / 2, two[:2] + two[2:] / 2
    return float(np.linalg.norm(middles[1] - middles[0]) / max(float(one[2:].max()), 1e-9))


def overlap_of(one: np.ndarray, two: np.ndarray) -> float:
    """Return the intersection over union of two boxes (left, top, width, height)."""
    left, top = np.maximum(one[:2], two[:2])
    right, bottom = np.minimum(one[:2] + one[2:], two[:2] + two[2:])
    common = max(0.0, float(right - left)) * max(0.0, float(bottom - top))
    return common / max(float(one[2] * one[3] + two[2] * two[3]) - common, 1e-9)


def _bridged(track: Sequence[tuple[int, np.ndarray]]) -> Track:
    numbers = np.array([number for number, _ in track])
    values = np.stack([face[:LOOKS] for _, face in track]).astype(np.float64)  # [N, 15 or 16]
    every = np.arange(numbers[0], numbers[-1] + 1)
    whole = np.stack([np.interp(every, numbers, column) for column in values.T], axis=1)  # [T, 15 or 16]
    scores = np.zeros(len(every))
    scores[numbers - numbers[0]] = values[:, SCORE]
    blurs = whole[:, BLUR] if whole.shape[1] > BLUR else np.zeros(len(every))
    return Track(int(numbers[0]), whole[:, :4], whole[:, 4:SCORE].reshape(-1, 5, 2), scores, blurs)


def crops(track: Track, part: str, margin: float, smooth: float) -> np.ndarray:
    """Return the square to cut out of each frame, ``[T, 3]``: its centre (x, y) and side, in pixels.

    The side is one for the whole track, so that nothing seems to grow or shrink; the centre is smoothed over time.

    Args:
        track: a face.
        part: ``"face"``: the box; ``"mouth"``: around the corners of the mouth, as wide as the eyes are apart;
            ``"person"``: head and chest, from half a face above the box.
        margin: added on each side, in units of that.
        smooth: standard deviation of the smoothing, in frames.
    """
    boxes, points = track.boxes, track.points
    if part == "mouth":
        centre = points[:, [RIGHT_MOUTH, LEFT_MOUTH]].mean(axis=1)
        eyes = np.linalg.norm(points[:, LEFT_EYE] - points[:, RIGHT_EYE], axis=1)
        mouth = np.linalg.norm(points[:, LEFT_MOUTH] - points[:, RIGHT_MOUTH], axis=1)
        side = float(np.median(np.maximum(eyes, mouth)))
    else:
        centre, side = boxes[:, :2] + boxes[:, 2:] / 2, track.side
        if part == "person":
            centre, side = centre + (0, 0.75) * boxes[:, 3:], 2.5 * side
    centre = smoothed(centre, smooth)
    return np.column_stack([centre, np.full(len(centre), side * (1 + 2 * margin))])


def smoothed(values: np.ndarray, deviation: float) -> np.ndarray:
    """Return values smoothed over time by a Gaussian of this standard deviation, in frames."""
    return gaussian_filter1d(values, deviation, axis=0, mode="nearest") if deviation > 0 else values
