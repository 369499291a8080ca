"""The clock of one video stream: when packets and frames are shown."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return FFmpeg's best video stream, or None if there is none but cover art; it decodes in the calling thread."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & av.stream.Disposition.attached_pic:
        return None  # without a context there is no decoder
    assert isinstance(stream, VideoStream)
    stream.thread_type = "NONE"
    return stream


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return the turn in degrees clockwise by which a frame is shown, and whether it is mirrored left to right first.

    A display matrix that turns by another angle counts as the nearest right angle.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(data, np.int32)[:5])  # (x, y) is shown at (ax + cy, bx + dy)
    mirrored = a * d < b * c
    angle = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    return round(angle / 90) * 90 % 360, mirrored


class Clock:
    """Display times of frames, in ticks of the stream's time base.

    Frames carry their own presentation time, except in AVI: there a packet's position is its only timestamp, and a
    decoder that reorders returns a frame ``delay`` packets after its own.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        assert stream.time_base is not None
        self.base: Fraction = stream.time_base
        self._seconds = float(self.base)
        self.counted = container.format.name == "avi"
        self.delay = int(stream.codec_context.has_b_frames) if self.counted else 0
        self._last = 0

    def frame(self, frame: VideoFrame) -> int | None:
        """Return the tick at which a decoded frame is shown; call it for every frame, in decoding order."""
        if not self.counted:
            return frame.pts
        self._last = self._last + 1 if frame.dts is None else frame.dts - self.delay
        return self._last

    def packet(self, packet: av.Packet) -> int | None:
        """Return the tick of a packet's frame or, in AVI, of the frame that the decoder returns for this packet."""
        if not self.counted:
            return packet.pts
        return None if packet.dts is None else packet.dts - self.delay

    def ticks(self, seconds: float) -> int:
        """Return the tick of a time; see ``tick_at``."""
        return tick_at(seconds, self._seconds)


def tick_at(seconds: float, base: float) -> int:
    """Return the last tick not after a time (``base`` seconds per tick), with a tolerance of half a tick or 0.6 ms.

    The smaller tolerance applies: a time computed as ``k / fps`` finds frame k however the file rounds its timestamps.
    """
    return math.floor(seconds / base + min(0.501, 0.0006 / base))


def shown_ticks(container: InputContainer, stream: VideoStream, clock: Clock, first: int) -> list[int]:
    """Return the ascending ticks of all frames shown from tick ``first`` on, by one pass over the packets."""
    ticks = (clock.packet(packet) for packet in container.demux(stream) if packet.size and not packet.is_discard)
    return sorted(tick for tick in ticks if tick is not None and tick >= first)


def spacing(ticks: np.ndarray, nominal: float) -> tuple[bool, float]:
    """Return whether frames are unevenly spaced, by more than rounding to ticks, and the usual ticks between frames.

    Args:
        ticks: ``[T]``, ascending.
        nominal: ticks between frames according to the container, believed if the frames confirm it.
    """
    if len(ticks) == 1:
        return False, nominal
    for period in (nominal, float(ticks[-1] - ticks[0]) / (len(ticks) - 1)):
        wander = np.abs(ticks - ticks[0] - period * np.arange(len(ticks))).max()
        if wander < min(1 + 1e-6, period / 3) and not (period.is_integer() and wander > 0):
            return False, period
    return True, float(np.median(np.diff(ticks)))
