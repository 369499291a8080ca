"""What readers have in common."""

from __future__ import annotations

import bisect
from pathlib import Path

from torch import Tensor

from avssl.media.audio import read_audio
from avssl.media.files import open_container, sniff
from avssl.media.info import AudioClip, MediaError, VideoInfo
from avssl.media.timeline import Clock, shown_ticks, tick_at, video_stream


class Reader:
    """The check of the times asked for, and the ``with`` block. Subclasses provide the rest of ``VideoReader``."""

    info: VideoInfo

    def check_times(self, times: Tensor) -> list[float]:
        """The times as floats.

        Raises:
            ValueError: unless they are ``[T]`` and all lie in [0, duration).
        """
        if times.ndim != 1 or len(times) == 0:
            raise ValueError(f"times: expected [T] seconds with T > 0, got {list(times.shape)}")
        seconds: list[float] = times.double().tolist()
        low, high = min(seconds), max(seconds)
        if not (low >= 0 and high < self.info.duration):  # also refuses NaN
            raise ValueError(
                f"{self.info.path}: times from {low:.6g} to {high:.6g} s were asked of a recording that "
                f"lasts from 0 to {self.info.duration:.6g} s"
            )
        return seconds

    def close(self) -> None:
        """Release the file, its threads and its memory."""
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        self.close()


class IndexedReader(Reader):
    """A reader round a library that counts frames: their times come from one pass over the packets.

    Args:
        info: of the file.
        backend: the name of the library, for messages.
    """

    def __init__(self, info: VideoInfo, backend: str) -> None:
        self.info, self._backend = info, backend
        sniff(Path(info.path))  # these libraries open addresses and playlists, too
        with open_container(info.path) as container:
            stream = video_stream(container)
            if stream is None:
                raise MediaError(info.path, "no_video", "there is no video stream", "Build the manifest again")
            clock = Clock(container, stream)
            self._base = float(clock.base)
            self._ticks = shown_ticks(container, stream, clock, clock.ticks(info.origin))

    @property
    def first(self) -> float:
        """Container seconds of the first shown frame."""
        return self._ticks[0] * self._base

    def check_count(self, frames: int) -> None:
        """Refuse a library that counts other frames than are shown."""
        if frames != len(self._ticks):
            raise self._unsafe(f"it counts {frames} frames where {len(self._ticks)} are shown")

    def places(self, times: Tensor) -> list[int]:
        """The number of the frame shown at each of ``[T]`` seconds."""
        first = self._ticks[0]
        targets = [first + tick_at(second, self._base) for second in self.check_times(times)]
        return [bisect.bisect_right(self._ticks, target) - 1 for target in targets]

    def check_shown(self, places: list[int], seconds: list[float]) -> None:
        """Refuse frames that the library dates, in container seconds, otherwise than the packets do."""
        for place, second in zip(places, seconds, strict=True):
            expected = self._ticks[place] * self._base
            if abs(second - expected) > max(self._base, 1e-6 * abs(expected)):
                raise self._unsafe(f"it dates frame {place} at {second:.4f} s where the file says {expected:.4f} s")

    def _unsafe(self, why: str) -> MediaError:
        return MediaError(self.info.path, "unsafe_backend", f"{self._backend}: {why}", 'Use backend="pyav"')

    def audio(self, start: float, stop: float, rate: int) -> AudioClip:
        """See ``VideoReader.audio``."""
        with open_container(self.info.path) as container:
            return read_audio(container, self.info, start, stop, rate)
