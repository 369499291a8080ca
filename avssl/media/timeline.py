"""The clock of one video stream: which packets and frames are shown when."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


def video_stream(container: InputContainer) -> VideoStream | None:
    """The stream that FFmpeg thinks best, None where there is but cover art or nothing. It decodes in this thread."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & av.stream.Disposition.attached_pic:
        return None  # without a context there is no decoder for it
    assert isinstance(stream, VideoStream)
    stream.thread_type = "NONE"
    return stream


class Clock:
    """When frames are shown, in ticks of the stream's time base.

    Frames carry their own presentation time, except in AVI: there a packet's place is its only date, and a decoder
    that reorders gives a frame back ``delay`` packets after its own.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        assert stream.time_base is not None
        self.base: Fraction = stream.time_base
        self._seconds = float(self.base)
        self.counted = container.format.name == "avi"
        self.delay = int(stream.codec_context.has_b_frames) if self.counted else 0
        self._last = 0

    def frame(self, frame: VideoFrame) -> int | None:
        """The tick at which a decoded frame is shown; call it for each frame in the order of decoding."""
        if not self.counted:
            return frame.pts
        self._last = self._last + 1 if frame.dts is None else frame.dts - self.delay
        return self._last

    def packet(self, packet: av.Packet) -> int | None:
        """The tick of the frame that a packet holds or, in AVI, of the frame that comes out when it goes in."""
        if not self.counted:
            return packet.pts
        return None if packet.dts is None else packet.dts - self.delay

    def ticks(self, seconds: float) -> int:
        """The tick of a time; see ``tick_at``."""
        return tick_at(seconds, self._seconds)


def tick_at(seconds: float, base: float) -> int:
    """The last tick not after a time, which is allowed to be half a tick early, but no more than 0.6 ms.

    So a time computed as ``k / fps`` finds frame k however the file rounds its dates.

    Args:
        seconds: any.
        base: seconds of a tick.
    """
    return math.floor(seconds / base + min(0.501, 0.0006 / base))


def shown_ticks(container: InputContainer, stream: VideoStream, clock: Clock, first: int) -> list[int]:
    """The rising ticks of all frames shown from tick ``first`` on, by one pass over the packets."""
    ticks = (clock.packet(packet) for packet in container.demux(stream) if packet.size and not packet.is_discard)
    return sorted(tick for tick in ticks if tick is not None and tick >= first)


def spacing(ticks: np.ndarray, nominal: float) -> tuple[bool, float]:
    """Whether frames are unevenly spaced, by more than the rounding to ticks; and the usual ticks from one to the next.

    Args:
        ticks: ``[T]`` rising.
        nominal: ticks from one to the next as the container has it, believed where the frames bear it out.
    """
    if len(ticks) == 1:
        return False, nominal
    for period in (nominal, float(ticks[-1] - ticks[0]) / (len(ticks) - 1)):
        wander = np.abs(ticks - ticks[0] - period * np.arange(len(ticks))).max()
        if wander < min(1 + 1e-6, period / 3) and not (period.is_integer() and wander > 0):
            return False, period
    return True, float(np.median(np.diff(ticks)))
