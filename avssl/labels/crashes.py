"""What a driver does after a clip, and whether it comes to a crash, from a file of actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.media import VideoInfo
from avssl.runtime.checks import check_ranges

COLUMNS = ("seconds", "steering", "speed", "collided")
UNKNOWN = -1  # instead of whether it has crashed
MARGIN = 1e-6  # seconds


class Actions(NamedTuple):
    """The rows of a file of actions, ``[K]`` each.

    Attributes:
        seconds: when the row begins; it ends when the next one does.
        steering: from -1, full right, to 1, full left.
        speed: asked for, in metres per second; negative backwards.
        collided: whether there was a crash in it.
    """

    seconds: NDArray[np.float64]
    steering: NDArray[np.float64]
    speed: NDArray[np.float64]
    collided: NDArray[np.bool_]


@dataclass(frozen=True)
class Crashes:
    """The next steerings after a clip, and whether the car has crashed by the end of each (Kahn et al., ICRA 2018).

    Actions are rows of a CSV file with the columns seconds (from the first row), steering (-1 to 1), speed (negative if
    it backs up) and collided (1 if there was a crash while the row held, else 0). A step is one of equal spans that
    begin with the clip's last frame.

    Actions do not follow a crop or a flip: use this with a transform that does neither (`Squash`).

    Args:
        actions: a file for a single video, or a folder with ``<name>.csv`` for each; None looks for
            ``<name>.actions.csv`` beside each video.
        horizon: steps (paper: 16).
        step: seconds of each.
    """

    actions: Path | None = None
    horizon: int = 16
    step: float = 0.25

    def __post_init__(self) -> None:
        check_ranges("labeller", self, horizon="[1, inf)", step="(0, inf)")

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Return ``[N, horizon, 2]`` float32 for clips ``[N, T, 3, H, W]``, whose pixels are not used.

        First the steering when a step begins, 0 after a crash: what was recorded then is of no use. Second 1 if the car
        has crashed by the end of the step, 0 if not, -1 throughout if it backs up at the clip's last frame.

        Raises:
            ValueError: if there is no file of actions, it can't be read, or it ends before the last step.
        """
        path = self._path(Path(info.path))
        rows = _actions(path, path.stat().st_mtime_ns)
        begins = times[:, -1:].numpy() + info.start + self.step * np.arange(self.horizon)  # [N, H]
        first = np.searchsorted(rows.seconds, begins + MARGIN, side="right") - 1
        last = np.searchsorted(rows.seconds, begins + self.step - MARGIN, side="left")  # the first row after the step
        ends = rows.seconds[-1] + np.median(np.diff(rows.seconds))
        if first.min() < 0 or begins.max() + self.step > ends + 0.5 * self.step:
            span = f"{begins.min():.2f} to {begins.max() + self.step:.2f} s"
            raise ValueError(f"{path}: actions from {rows.seconds[0]:.2f} to {ends:.2f} s, but {span} are asked for")
        sums = np.concatenate([[0], rows.collided.cumsum()])
        crashed = sums[last] > sums[first[:, :1]]  # [N, H]
        before = np.concatenate([np.zeros_like(crashed[:, :1]), crashed[:, :-1]], 1)
        steering = np.where(before, 0.0, rows.steering[first])
        state = np.where(rows.speed[first[:, :1]] < 0, UNKNOWN, crashed.astype(np.float64))
        return torch.from_numpy(np.stack([steering, state], -1).astype(np.float32))

    def _path(self, video: Path) -> Path:
        if self.actions is None:
            path = video.with_suffix(".actions.csv")
        else:
            path = self.actions / f"{video.stem}.csv" if self.actions.is_dir() else self.actions
        if not path.is_file():
            raise ValueError(f"{video}: no actions at {path}; put them there, or set the labeller's actions")
        return path


@lru_cache(maxsize=1024)
def _actions(path: Path, changed: int) -> Actions:
    """Cache `read_actions` until the file changes."""
    return read_actions(path)


def read_actions(path: Path) -> Actions:
    """Read a file of actions (see `Crashes`).

    Raises:
        ValueError: if columns are missing, a value is not a number or out of range, there are fewer than two rows, or
            seconds do not increase.
    """
    rows = np.genfromtxt(path, delimiter=",", names=True, ndmin=1)
    names = rows.dtype.names or ()
    if missing := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path}: no column {missing[0]}; expected {','.join(COLUMNS)} in the first line")
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} rows of actions, expected at least 2")
    seconds, steering, speed, collided = (rows[name].astype(np.float64) for name in COLUMNS)
    for name, values in zip(COLUMNS, (seconds, steering, speed, collided), strict=True):
        if np.isnan(values).any():
            raise ValueError(f"{path}: row {np.isnan(values).argmax() + 1}: {name} is not a number")
    if (np.diff(seconds) <= 0).any():
        raise ValueError(f"{path}: row {(np.diff(seconds) <= 0).argmax() + 2}: seconds do not increase")
    if np.abs(steering).max() > 1:
        raise ValueError(f"{path}: steering is {steering[np.abs(steering).argmax()]:g}: scale it to between -1 and 1")
    if not np.isin(collided, (0, 1)).all():
        raise ValueError(f"{path}: collided must be 0 or 1")
    return Actions(seconds - seconds[0], steering, speed, collided == 1)
