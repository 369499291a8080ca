"""Depth recorded by a depth camera."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.media import VideoInfo

UNKNOWN = (0, 65535)  # written by depth cameras for missing depth


@dataclass(frozen=True)
class RecordedDepth:
    """Depth maps of a recording: a folder of 16-bit single-channel images, one for each shown frame or for some.

    The last number in a map's name is its frame, counted from 0 at the video's frame rate: ``000010.png``, or 7-Scenes'
    ``frame-000010.depth.png``. Maps do not follow a crop or a flip: use this with a transform that does neither
    (`Squash`). They are resized to the frames by nearest neighbour.

    Args:
        maps: the folder for a single video, or a folder with a folder ``<name>`` for each; None looks for a folder
            ``<name>.depth`` beside each video.
        unit: metres per unit of the maps.
    """

    maps: Path | None = None
    unit: float = 0.001

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Return depth ``[N, T, H, W]`` float32 in metres for clips ``[N, T, 3, H, W]``, whose pixels are not used.

        Unknown depth, and that of a frame without a map, is 0.

        Raises:
            ValueError: if there is no folder of maps, or a map can't be read.
        """
        folder = self._folder(Path(info.path))
        known = _maps(folder, folder.stat().st_mtime_ns)
        height, width = frames.shape[-2:]
        depth = np.zeros((*times.shape, height, width), np.float32)
        for place, number in np.ndenumerate(shown_frames(times.numpy(), info)):
            if (path := known.get(int(number))) is not None:
                steps = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
                    raise ValueError(f"{path}: expected a depth map, a 16-bit single-channel image")
                steps = cv2.resize(steps, (width, height), interpolation=cv2.INTER_NEAREST)
                depth[place] = np.where(np.isin(steps, UNKNOWN), 0, steps * np.float32(self.unit))
        return torch.from_numpy(depth)

    def _folder(self, video: Path) -> Path:
        if self.maps is None:
            folder = video.with_suffix(".depth")
        else:
            folder = self.maps / video.stem if (self.maps / video.stem).is_dir() else self.maps
        if not folder.is_dir():
            raise ValueError(f"{video}: no depth maps in {folder}; put them there, or set the labeller's maps")
        return folder


def shown_frames(seconds: NDArray[np.float64], info: VideoInfo) -> NDArray[np.int64]:
    """Return the file's number of the frame shown at each time, counted from 0 at the video's frame rate."""
    return np.floor((seconds + info.start) * info.fps + 1e-3).astype(np.int64)


@lru_cache(maxsize=1024)
def _maps(folder: Path, changed: int) -> dict[int, Path]:
    """Cache `recorded_maps` until the folder changes."""
    return recorded_maps(folder)


def recorded_maps(folder: Path) -> dict[int, Path]:
    """Return the depth maps of a folder by frame number.

    Raises:
        ValueError: if there is none, a name has no number, or two have the same.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.png")):
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise ValueError(f"{path}: the name of a depth map must contain its frame number")
        other = found.setdefault(int(numbers[-1]), path)
        if other != path:
            raise ValueError(f"{other} and {path} are both of frame {int(numbers[-1])}")
    if not found:
        raise ValueError(f"{folder}: no depth maps (16-bit *.png)")
    return found
