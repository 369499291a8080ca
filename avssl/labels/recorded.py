"""Depth as a depth camera recorded it."""

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

UNKNOWN = (0, 65535)  # what depth cameras write where they see nothing


@dataclass(frozen=True)
class RecordedDepth:
    """The depth maps of a recording: 16-bit pictures of one channel in a folder, one for each shown frame or for some.

    The last number in the name of a map is that of its frame, counted from 0 at the video's rate: ``000010.png``, or
    7-Scenes' ``frame-000010.depth.png``. Maps know nothing of a crop or a flip: use this with a transform that neither
    crops nor flips (`Squash`). They are brought to the size of the frames by their nearest pixels.

    Args:
        maps: the folder for a single video, or a folder that holds a folder ``<name>`` for each; None looks for a
            folder ``<name>.depth`` beside each video.
        unit: metres a step.
    """

    maps: Path | None = None
    unit: float = 0.001

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` frames, whose pixels are not looked at, to ``[N, T, H, W]`` float32 metres, 0: not known.

        Nothing is known of a frame that has no map.

        Raises:
            ValueError: where there is no folder of maps, or a map can't be read.
        """
        folder = self._folder(Path(info.path))
        known = _maps(folder, folder.stat().st_mtime_ns)
        height, width = frames.shape[-2:]
        depth = np.zeros((*times.shape, height, width), np.float32)
        for place, number in np.ndenumerate(shown_frames(times.numpy(), info)):
            if number in known:
                steps = cv2.imread(str(known[number]), cv2.IMREAD_UNCHANGED)
                if steps is None or steps.dtype != np.uint16 or steps.ndim != 2:
                    raise ValueError(f"{known[number]}: expected a depth map, a 16-bit picture of one channel")
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
    """The number of the frame that is shown at each time, counted from 0 at the video's rate."""
    return np.floor(seconds * info.fps + 1e-3).astype(np.int64)


@lru_cache(maxsize=1024)
def _maps(folder: Path, changed: int) -> dict[int, Path]:
    """`recorded_maps`, once for all clips of a recording; anew where the folder has changed since."""
    return recorded_maps(folder)


def recorded_maps(folder: Path) -> dict[int, Path]:
    """The depth maps of a folder, by the number of their frame.

    Raises:
        ValueError: where there is none, a name has no number, or two are of one frame.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.png")):
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise ValueError(f"{path}: the name of a depth map must have the number of its frame in it")
        other = found.setdefault(int(numbers[-1]), path)
        if other != path:
            raise ValueError(f"{other} and {path} are both of frame {int(numbers[-1])}")
    if not found:
        raise ValueError(f"{folder}: no depth maps (16-bit *.png)")
    return found
