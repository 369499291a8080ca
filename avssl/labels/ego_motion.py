"""Classes of camera motion between two frames, from recorded poses or estimated from the video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from avssl.labels.camera import fit_camera
from avssl.labels.flow import dis_flow, grey
from avssl.labels.recorded import shown_frames
from avssl.media import VideoInfo

AXES = ("up", "right turn", "clockwise", "to the right", "down", "ahead")  # rotation and translation: x right, y down
UNKNOWN = -1  # instead of a class


@dataclass(frozen=True)
class EgoMotionFromPoses:
    """Rotation and translation of the camera from the first to the last frame of a clip, from a file of poses.

    A row of the file is a camera-to-world pose: 12 numbers, the upper rows of a 4 x 4 matrix (KITTI); 16 numbers, the
    whole matrix (7-Scenes); or 8 numbers: seconds, position and quaternion x y z w (TUM). Rows without seconds belong
    to the shown frames in order, at the video's frame rate; seconds count from the first row.

    Poses do not follow a crop or a flip: use this with a transform that does neither (`Squash`).

    Args:
        poses: a file for a single video, or a folder with ``<name>.txt`` for each; None looks for ``<name>.poses.txt``
            beside each video.
        bins: classes per axis, evenly spaced (Agrawal et al., ICCV 2015, section 4.2: 20).
        turn: radians at which the last class begins; it is open-ended.
        shift: metres at which the last class begins.
    """

    poses: Path | None = None
    bins: int = 20
    turn: float = 0.1
    shift: float = 0.2

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Return classes ``[N, 6]`` int64 along `AXES` for clips ``[N, T, 3, H, W]``, whose pixels are not used.

        Raises:
            ValueError: if there is no file of poses, it can't be read, or it ends before the clip does.
        """
        path = self._path(Path(info.path))
        seconds, poses = _poses(path, path.stat().st_mtime_ns)
        ends = times[:, [0, -1]].numpy()
        if seconds is None:
            rows = shown_frames(ends, info)
        else:
            rows = np.searchsorted(seconds, ends + info.start + 1e-6, side="right") - 1
        if rows.max() >= len(poses):
            raise ValueError(f"{path}: {len(poses)} poses, but the clip ends at {ends.max():.2f} s, row {rows.max()}")
        motions = np.stack([relative_motion(poses[first], poses[last]) for first, last in rows])
        return binned(torch.from_numpy(motions), self.turn, self.shift, self.bins)

    def _path(self, video: Path) -> Path:
        if self.poses is None:
            path = video.with_suffix(".poses.txt")
        else:
            path = self.poses / f"{video.stem}.txt" if self.poses.is_dir() else self.poses
        if not path.is_file():
            raise ValueError(f"{video}: no poses at {path}; put them there, or set the labeller's poses")
        return path


@dataclass(frozen=True)
class EgoMotionFromVideo:
    """Rotation and direction of translation of the camera from the first to the last frame of a clip, from their flow.

    The flow is decomposed by `fit_camera`. The distance moved is not visible, so translation is a unit vector; it is
    unknown if the motion left after rotation and zoom is less than ``least``. Flow follows crops and flips, so these
    labels agree with any transform.

    Args:
        bins: classes per axis, evenly spaced.
        turn: radians at which the last class begins; it is open-ended.
        least: parallax in image widths below which the direction is unknown.
        focal: focal length in image widths.
    """

    bins: int = 20
    turn: float = 0.1
    least: float = 0.002
    focal: float = 1.0

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to classes ``[N, 6]`` int64 along `AXES`; -1 if unknown."""
        classes = []
        for first, last in grey(frames[:, [0, -1]]):
            fit = fit_camera(dis_flow(first, last), self.focal)
            motion = torch.from_numpy(np.concatenate([fit.turn[:3], fit.direction]))
            found = binned(motion, self.turn, 1.0, self.bins)
            if np.median(np.abs(fit.closeness) * fit.parallax) < self.least * frames.shape[-1]:
                found[3:] = UNKNOWN
            classes.append(found)
        return torch.stack(classes)


@lru_cache(maxsize=64)
def _poses(path: Path, changed: int) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Cache `read_poses` until the file changes."""
    return read_poses(path)


def read_poses(path: Path) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Read a file of camera-to-world poses (see `EgoMotionFromPoses`).

    Returns:
        ``[P]`` seconds from the first row, or None if the rows have none; ``[P, 4, 4]`` matrices.

    Raises:
        ValueError: if the rows are not in the format of KITTI, 7-Scenes or TUM.
    """
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path}: expected rows of 8, 12 or 16 numbers: {error}") from error
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    if rows.shape[1] == 12:
        poses[:, :3] = rows.reshape(-1, 3, 4)
        return None, poses
    if rows.shape[1] == 16:
        return None, rows.reshape(-1, 4, 4)
    if rows.shape[1] == 8:
        poses[:, :3, 3] = rows[:, 1:4]
        poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
        return rows[:, 0] - rows[0, 0], poses
    raise ValueError(f"{path}: expected rows of 8 (TUM), 12 (KITTI) or 16 numbers, got {rows.shape[1]}")


def relative_motion(first: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the camera's own motion between two camera-to-world poses ``[4, 4]``, in the axes of the first.

    Returns:
        ``[6]``: rotation (axis times radians) and translation, each x right, y down, z ahead.
    """
    turned = Rotation.from_matrix(first[:3, :3].T @ last[:3, :3])
    return np.concatenate([turned.as_rotvec(), first[:3, :3].T @ (last[:3, 3] - first[:3, 3])])


def binned(motion: Tensor, turn: float, shift: float, bins: int) -> Tensor:
    """Map motion ``[..., 6]`` to int64 classes: the middle one (of an odd number) is rest; the last is open-ended."""
    limit = motion.new_tensor([turn] * 3 + [shift] * 3)
    inner = (motion / limit + 1) / 2 * (bins - 2) + 1  # the outer two classes are open
    return inner.floor().long().clamp(0, bins - 1)
