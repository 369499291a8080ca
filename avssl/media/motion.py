"""One pass over all frames of a recording: the amount of motion over time, and how far the file decodes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from avssl.media.info import MOTION_RATE, MediaError, VideoInfo
from avssl.media.pyav import PyAVReader
from avssl.media.timeline import spacing

_SIDE = 64  # side in pixels of the small grey images that are compared


class Difference:
    """Mean absolute grey difference, 0 to 1, of each frame to the previous one, on small images; 0 for the first."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()
        self._before: np.ndarray | None = None

    def __call__(self, frame: VideoFrame) -> float:
        """Return the next frame's difference."""
        small = self._scaler.reformat(frame, _SIDE, _SIDE, "gray", interpolation=Interpolation.AREA, threads=1)
        before, self._before = self._before, small.to_ndarray().astype(np.int16)
        return 0.0 if before is None else float(np.abs(self._before - before).mean()) / 255


def scan(path: Path, info: VideoInfo) -> VideoInfo:
    """Decode the whole recording once, at low resolution.

    Returns:
        ``info`` (from ``probe``) with ``motion``; ``duration`` and ``num_frames`` are cut to the part that decodes.

    Raises:
        MediaError: ``undecodable`` if no frame decodes.
    """
    if info.container == "image":
        return replace(info, motion=torch.zeros(1))
    difference = Difference()
    ticks: list[int] = []
    moved: list[float] = []
    with PyAVReader(replace(info, path=path)) as reader:
        for tick, frame in reader.sequence():
            moved.append(difference(frame))
            ticks.append(tick)
        base, failed = float(reader.base), reader.failed
    if not ticks:
        why = f"no frame of its {info.codec} video decodes" + (f" ({type(failed[1]).__name__})" if failed else "")
        raise MediaError(path, "undecodable", why, "Fetch or convert it again")
    if len(ticks) != info.num_frames or failed:
        vfr, period = spacing(np.array(ticks), 1 / (info.fps * base))
        last = 1 if failed and vfr else period  # the next frame, which would end an unevenly spaced one, is missing
        duration = (ticks[-1] - ticks[0] + last) * base
        info = replace(
            info, num_frames=len(ticks), duration=duration, vfr=vfr, fps=1 / (period * base), backends=("pyav",)
        )
    times = torch.tensor(ticks, dtype=torch.float64).sub(ticks[0]).mul(base)
    return replace(info, motion=profile(times, torch.tensor(moved), info.duration))


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
