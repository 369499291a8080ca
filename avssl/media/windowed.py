"""PyAV on a window: what makes a read fail is raised by the step that needed it, whatever FFmpeg makes of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from avssl.media.window import Window


class Feed:
    """A window as PyAV reads from it: nothing is raised within FFmpeg, which would take it for an end or for damage.

    A failed read gives no bytes, and the window remembers why.
    """

    def __init__(self, window: Window, name: str) -> None:
        self._window = window
        self.name = name  # FFmpeg looks at its suffix
        self.tell = window.tell

    def read(self, n: int) -> bytes:
        """Read at most ``n`` bytes; none at the end and after a failure."""
        try:
            return self._window.read(n)
        except BaseException as error:  # also Ctrl-C, which PyAV would drop
            self._window.failure = self._window.failure or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place; return a negative number if it lies before the start."""
        try:
            return self._window.seek(offset, whence)
        except ValueError:
            return -errno.EINVAL


class Windowed:
    """PyAV's input container on a window: after each step that reads, it raises what made a read fail."""

    def __init__(self, container: Any, window: Window) -> None:
        self._container, self._window = container, window

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, *streams: Any) -> Iterator[Any]:
        """See PyAV's ``InputContainer.demux``."""
        try:
            for packet in self._container.demux(*streams):
                if self._window.failure is not None:
                    break
                yield packet
        except Exception:
            self._window.check()
            raise
        self._window.check()

    def decode(self, *streams: Any) -> Iterator[Any]:
        """See PyAV's ``InputContainer.decode``."""
        for packet in self.demux(*streams):
            yield from packet.decode()

    def seek(self, offset: int, **how: Any) -> None:
        """See PyAV's ``InputContainer.seek``."""
        try:
            self._container.seek(offset, **how)
        finally:
            self._window.check()

    def close(self) -> None:
        """Close the container and the window."""
        self._container.close()
        self._window.close()

    def __enter__(self) -> Windowed:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
