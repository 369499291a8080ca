"""Segments: parts of a recording that are read as if they were files of their own, on the same time axis."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo
from avssl.media.motion import profile

BEYOND = 2.0  # seconds by which a segment may begin before or end after the recording, and is then cut


def cut(info: VideoInfo, times: Tensor, moved: Tensor | None, start: float | None, stop: float | None) -> VideoInfo:
    """Describe the frames from the one nearest to ``start`` up to, and without, the one nearest to ``stop``.

    Annotations round their dates, and the nearest frame survives that; segments that share a date share no frame and
    leave none out. Reading costs what it costs in the whole file.

    Args:
        info: the whole recording.
        times: ``[T]`` float64 seconds at which its frames are shown, see `avssl.media.probing.probe_frames`.
        moved: ``[T]`` motion of each frame, see `avssl.media.motion.scan_frames`; None leaves ``motion`` unknown.
        start: seconds from the first shown frame; None for that frame.
        stop: seconds from the first shown frame; None for the end of the recording.

    Raises:
        MediaError: ``outside`` if the segment holds no frame, or reaches more than ``BEYOND`` seconds out of the
            recording.
    """
    start, stop = 0.0 if start is None else start, info.duration if stop is None else stop
    span = f"its segment from {start:.6g} to {stop:.6g} s"
    if not start < stop:
        raise MediaError(info.path, "outside", f"{span} is empty", "Correct the list")
    if start < -BEYOND or stop > info.duration + BEYOND or start >= info.duration:
        why = f"{span} reaches out of the recording of {info.duration:.2f} s"
        raise MediaError(info.path, "outside", why, "Correct the list, or fetch the whole recording")
    bounds = torch.cat([times, times.new_tensor([info.duration])])  # [T + 1]
    first, last = (_nearest(bounds, second) for second in (start, stop))
    if first == last:
        raise MediaError(info.path, "outside", f"{span} is shorter than one frame", "Correct the list")
    begin, duration = float(bounds[first]), float(bounds[last] - bounds[first])
    sound = info.audio and replace(info.audio, start=info.audio.start - begin)
    motion = None if moved is None else profile(times[first:last] - begin, moved[first:last], duration)
    return replace(
        info,
        duration=duration,
        audio=sound,
        motion=motion,
        origin=info.origin + begin,
        num_frames=last - first,
        backends=("pyav",),  # the others count frames from the start of the file
        start=begin,
    )


def _nearest(bounds: Tensor, second: float) -> int:
    """Return the place of the bound nearest to a time; of two equally near ones, the later."""
    place = int(torch.searchsorted(bounds, second).clamp(1, len(bounds) - 1))
    return place if bounds[place] - second <= second - bounds[place - 1] else place - 1
