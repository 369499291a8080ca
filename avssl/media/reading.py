"""Shared base classes of the readers."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from avssl.media.audio import read_audio
from avssl.media.errors import MediaError
from avssl.media.files import DECODE_ERRORS, open_container, place_of, sniff
from avssl.media.info import AudioClip, VideoInfo
from avssl.media.joins import decode_pictures
from avssl.media.timeline import Clock, shown_ticks, tick_at, video_stream

Self = TypeVar("Self", bound="Reader")


class Reader:
    """Checks requested times and closes after a ``with`` block. Subclasses provide the rest of ``VideoReader``.

    Whatever FFmpeg or the system raises while they open or read a file becomes a `MediaError` that names it.
    """

    info: VideoInfo

    def __init_subclass__(cls) -> None:
        for name in {"__init__", "frames", "audio"} & vars(cls).keys():
            setattr(cls, name, _naming(vars(cls)[name]))

    def check_times(self, times: Tensor) -> list[float]:
        """Return the times as floats.

        Raises:
            ValueError: unless they are ``[T]`` and all lie in [0, duration).
        """
        if times.ndim != 1 or len(times) == 0:
            raise ValueError(f"times: expected [T] seconds with T > 0, got {list(times.shape)}")
        seconds: list[float] = times.double().tolist()
        low, high = min(seconds), max(seconds)
        if not (low >= 0 and high < self.info.duration):  # also refuses NaN
            raise ValueError(
                f"{self.info.place}: times from {low:.6g} to {high:.6g} s were requested of a recording that "
                f"lasts from 0 to {self.info.duration:.6g} s"
            )
        return seconds

    def close(self) -> None:
        """Release the file, its threads and its memory."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _naming(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def named(self: Reader, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except MediaError:
            raise
        except (*DECODE_ERRORS, OSError) as error:
            path, where = getattr(self, "info", arguments[0]).path, ""
            if method.__name__ != "__init__":
                asked = [*arguments, *options.values()][: 1 if method.__name__ == "frames" else 2]
                seconds = torch.cat([torch.as_tensor(value, dtype=torch.float64).flatten() for value in asked])
                where = f" from {seconds.min():.2f} to {seconds.max():.2f} s"
            why = f"it can't be read{where} ({type(error).__name__}: {error})"
            raise MediaError(path, "corrupt", why, "Fetch or convert it again, or leave it out") from error

    return named


def frame_times(info: VideoInfo) -> np.ndarray:
    """Return when each frame of a recording or segment is shown: ``[T]`` ascending seconds from the first.

    This takes one pass over the packets, or decoding from the start where packets don't tell (``seekable`` is False).
    """
    place = place_of(info)
    with open_container(place) as container:
        stream = video_stream(container)
        if stream is None:
            raise MediaError(info.path, "no_video", "it has no video stream", "Rebuild the manifest")
        clock = Clock(container, stream)
        first = clock.ticks(info.origin)
        ticks = shown_ticks(container, stream, clock, first) if info.seekable else decode_pictures(place).ticks
    times = (np.array(ticks) - first) * float(clock.base)
    return times[(times >= 0) & (times < info.duration)]


class IndexedReader(Reader):
    """A reader for a library that counts frames: their times come from one pass over the packets."""

    def __init__(self, info: VideoInfo, backend: str) -> None:
        self.info, self._backend = info, backend
        sniff(place_of(info))  # these libraries would also open URLs and playlists
        with open_container(place_of(info)) as container:
            stream = video_stream(container)
            if stream is None:
                raise MediaError(info.path, "no_video", "it has no video stream", "Rebuild the manifest")
            clock = Clock(container, stream)
            self._base = float(clock.base)
            self._ticks = shown_ticks(container, stream, clock, clock.ticks(info.origin))

    @property
    def first(self) -> float:
        """Container time of the first shown frame, in seconds."""
        return self._ticks[0] * self._base

    def check_count(self, num_frames: int) -> None:
        """Raise if the library's frame count differs from the number of shown frames."""
        if num_frames != len(self._ticks):
            raise self._unsafe(f"it counts {num_frames} frames where {len(self._ticks)} are shown")

    def places(self, times: Tensor) -> list[int]:
        """Return the index of the frame shown at each of ``[T]`` seconds."""
        first = self._ticks[0]
        targets = [first + tick_at(second, self._base) for second in self.check_times(times)]
        return [bisect.bisect_right(self._ticks, target) - 1 for target in targets]

    def check_shown(self, places: list[int], seconds: list[float]) -> None:
        """Raise if the library's timestamps (container seconds) differ from those of the packets."""
        for place, second in zip(places, seconds, strict=True):
            expected = self._ticks[place] * self._base
            if abs(second - expected) > max(self._base, 1e-6 * abs(expected)):
                raise self._unsafe(f"it places frame {place} at {second:.4f} s where the file says {expected:.4f} s")

    def _unsafe(self, why: str) -> MediaError:
        return MediaError(self.info.path, "unsafe_backend", f"{self._backend}: {why}", 'Use backend="pyav"')

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """See ``VideoReader.audio``."""
        with open_container(place_of(self.info)) as container:
            return read_audio(container, self.info, start, stop, rate, channels=channels)
