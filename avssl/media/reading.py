"""What every reader has in common."""

from __future__ import annotations

from torch import Tensor

from avssl.media.info import VideoInfo


class Reader:
    """A reader's times check and ``with`` block. Subclasses provide ``frames``, ``audio`` and ``close``."""

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
