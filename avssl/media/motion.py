"""One pass over all frames of a recording: the amount of motion over time, and how far the file decodes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from avssl.media.errors import MediaError
from avssl.media.files import DECODE_ERRORS, path_of
from avssl.media.info import MOTION_RATE, VideoInfo
from avssl.media.pyav import PyAVReader
from avssl.media.source import Source, SourceError
from avssl.media.timeline import spacing

_AFTER_KEY = 3  # frames that are compared at and after a keyframe
_TESTED_KEYS = 3
_BLOCKS = 8  # along each side
_SIDE = 64  # side in pixels of the small grey images that are compared


class Difference:
    """Mean absolute grey difference, 0 to 1, of each frame to the previous one, on small images; 0 for the first.

    Attributes:
        last: small grey image of the last frame.
        liveliest: the last frame's difference in that of 8 x 8 blocks in which it is largest.
    """

    def __init__(self) -> None:
        self._scaler = VideoReformatter()
        self.last: np.ndarray | None = None
        self.liveliest = 0.0

    def __call__(self, frame: VideoFrame) -> float:
        """Return the next frame's difference."""
        before, self.last = self.last, self.small(frame)
        if before is None:
            return 0.0
        away = np.abs(self.last - before)  # [64, 64]
        self.liveliest = float(away.reshape(_BLOCKS, _SIDE // _BLOCKS, _BLOCKS, -1).mean((1, 3)).max()) / 255
        return float(away.mean()) / 255

    def small(self, frame: VideoFrame) -> np.ndarray:
        """Return the small grey image of a frame that is compared."""
        grey = self._scaler.reformat(frame, _SIDE, _SIDE, "gray", interpolation=Interpolation.AREA, threads=1)
        return grey.to_ndarray().astype(np.int16)


class SeekTests:
    """Frames of a sequential decode, at and after a few keyframes, to compare with those reached by a seek."""

    def __init__(self) -> None:
        self._frames: list[list[tuple[int, np.ndarray]]] = []  # by keyframe: tick and small image
        self._key: int | None = None  # the next keyframe to come out
        self._last: int | None = None  # the last keyframe read when the one before came out
        self._keys = self._left = 0

    def note(self, tick: int, key: int | None, difference: Difference) -> None:
        """Take the frame at a tick, the last one that ``difference`` has seen, if it is one to compare.

        ``key`` is the tick of the last keyframe read, which may lie ahead.
        """
        self._key = key if self._key is None else self._key
        if self._key is not None and self._key <= tick and key != self._last:
            self._key, self._last, self._keys = None, key, self._keys + 1
            if self._keys & (self._keys - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
                self._frames.append([])
                self._left = _AFTER_KEY
        if self._left:
            assert difference.last is not None
            self._frames[-1].append((tick, difference.last))
            self._left -= 1

    def passed(self, info: VideoInfo, difference: Difference) -> bool:
        """Return True if seeks give the same frames as the sequential decode did."""
        with PyAVReader(info) as reader:
            try:
                for frames in self._frames[:0:-1][:_TESTED_KEYS]:
                    reader.seek(frames[0][0])
                    for tick, image in frames:
                        if not np.array_equal(difference.small(reader.frame(tick)), image):
                            return False
            except SourceError:
                raise
            except (MediaError, *DECODE_ERRORS):
                return False
            return not reader.doubted


class Scanned(NamedTuple):
    """A recording, and each of its ``T`` frames."""

    info: VideoInfo
    times: Tensor  # [T] float64 seconds at which it is shown
    moved: Tensor  # [T] mean absolute grey difference to the frame before; 0 for the first


def scan(path: Path | Source, info: VideoInfo) -> VideoInfo:
    """Decode the whole recording once, at low resolution.

    Args:
        path: where it is; ``info.source`` is read if that is set and this is its path.
        info: the result of ``probe``.

    Returns:
        ``info`` (from ``probe``) with ``motion``; ``duration`` and ``num_frames`` are cut to the part that decodes, and
        ``seekable`` is False if frames after some keyframes differ when they are reached by a seek.

    Raises:
        MediaError: ``undecodable`` if no frame decodes.
    """
    return scan_frames(path, info).info


def scan_frames(path: Path | Source, info: VideoInfo) -> Scanned:
    """Return what `scan` does, and when each frame is shown and how much it differs from the one before.

    Raises:
        MediaError: ``undecodable`` if no frame decodes.
    """
    if info.container == "image":
        return Scanned(replace(info, motion=torch.zeros(1)), torch.zeros(1, dtype=torch.float64), torch.zeros(1))
    here = replace(info, path=path_of(path), source=path if isinstance(path, Source) else info.source)
    difference, tests = Difference(), SeekTests()
    ticks: list[int] = []
    moved: list[float] = []
    with PyAVReader(here) as reader:
        for tick, frame in reader.sequence():
            moved.append(difference(frame))
            ticks.append(tick)
            tests.note(tick, reader.last_key, difference)
        base, failed = float(reader.base), reader.failed
    if not ticks:
        why = f"no frame of its {info.codec} video decodes" + (f" ({type(failed[1]).__name__})" if failed else "")
        raise MediaError(path, "undecodable", why, "Fetch or convert it again")
    if info.seekable and not tests.passed(here, difference):
        info = replace(info, seekable=False, backends=("pyav",))
    if len(ticks) != info.num_frames or failed:
        vfr, period = spacing(np.array(ticks), 1 / (info.fps * base))
        last = 1 if failed and vfr else period  # the next frame, which would end an unevenly spaced one, is missing
        duration = (ticks[-1] - ticks[0] + last) * base
        info = replace(
            info, num_frames=len(ticks), duration=duration, vfr=vfr, fps=1 / (period * base), backends=("pyav",)
        )
    times = torch.tensor(ticks, dtype=torch.float64).sub(ticks[0]).mul(base)
    differences = torch.tensor(moved)
    return Scanned(replace(info, motion=profile(times, differences, info.duration)), times, differences)


def profile(times: Tensor, moved: Tensor, duration: float) -> Tensor:
    """Average ``moved``, the ``[T]`` differences at ascending times, over each eighth of a second.

    The first difference is ignored, and an empty bin takes the value of the next one.

    Returns:
        ``[ceil(8 * duration)]``.
    """
    bins = math.ceil(MOTION_RATE * duration)
    place = (times[1:] * MOTION_RATE).long().clamp(max=bins - 1)  # [T - 1]
    total = torch.zeros(bins).index_add_(0, place, moved[1:])
    count = torch.zeros(bins).index_add_(0, place, torch.ones(len(place)))
    filled = count.nonzero().flatten()
    if len(filled) == 0:
        return total
    source = filled[torch.searchsorted(filled, torch.arange(bins)).clamp(max=len(filled) - 1)]
    return total[source] / count[source]
