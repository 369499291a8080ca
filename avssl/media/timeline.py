"""The streams of a recording, and the clock of its pictures: when packets and frames are shown."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property

import av
import numpy as np
from av.audio.stream import AudioStream
from av.buffer import Buffer
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

_BACK = 0.25  # seconds by which a clock that starts anew falls back at least


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return FFmpeg's best video stream, or None if there is none but cover art; it decodes in the calling thread."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & av.stream.Disposition.attached_pic:
        return None  # without a context there is no decoder
    assert isinstance(stream, VideoStream)
    stream.thread_type = "NONE"
    return stream


def audio_stream(container: InputContainer) -> AudioStream | None:
    """Return the audio stream that belongs to the video, or None; it decodes in the calling thread only."""
    stream = container.streams.best("audio", related=container.streams.best("video"))
    if stream is None or stream.codec_context is None:
        return None
    assert isinstance(stream, AudioStream)
    if not stream.codec_context.is_open:
        stream.codec_context.thread_type = "NONE"
    return stream


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return the turn in degrees clockwise by which a frame is shown, and whether it is mirrored left to right first.

    A display matrix that turns by another angle counts as the nearest right angle.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    assert isinstance(data, Buffer)
    # (x, y) is shown at (ax + cy, bx + dy)
    a, b, _, c, d = (int(value) for value in np.frombuffer(memoryview(data), np.int32)[:5])
    mirrored = a * d < b * c
    angle = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    return round(angle / 90) * 90 % 360, mirrored


class Restarts:
    """Finds where the decoding times of a stream's packets start anew."""

    def __init__(self) -> None:
        self._before: int | None = None
        self.count = 0

    def at(self, packet: av.Packet) -> bool:
        """Return True if they do at this packet; call it for every packet of the stream, in the file's order."""
        if packet.dts is None or not packet.size:
            return False
        before, self._before = self._before, packet.dts
        if before is None or packet.dts >= before or (before - packet.dts) * packet.time_base <= _BACK:
            return False
        self.count += 1
        return True


class Clock:
    """Display times of frames, in ticks of the stream's time base.

    Frames carry their own presentation time, except in AVI and, if frames are reordered, in ASF: there a packet's place
    is its only timestamp, and a decoder that reorders returns a frame ``delay`` ticks after its own.

    A frame without a time follows the last one by one frame at the stated rate, and so does one that is dated more than
    a quarter of a second before it, as where recordings were joined: all later frames then move with it. Such streams
    can only be dated from the start; see :meth:`start`.

    Attributes:
        restarts: the tick of each frame at which the stream's times started anew, and how far they are moved from then.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        assert stream.time_base is not None
        self.base: Fraction = stream.time_base
        self._seconds = float(self.base)
        avi = container.format.name == "avi"
        self._rate = None if avi else stream.guessed_rate
        self.counted = avi or (container.format.name == "asf" and bool(stream.codec_context.has_b_frames))
        self.delay = round(int(stream.codec_context.has_b_frames) * self.period) if self.counted else 0
        self._back = _BACK / self._seconds
        self._shift = 0
        self.restarts: list[tuple[int, int]] = []
        self.start(1 if self.counted else None)

    @cached_property
    def period(self) -> float:
        """Ticks from frame to frame at the stated rate, if there is one."""
        return float(1 / (self._rate * self.base)) if self._rate else 1.0

    def start(self, tick: float | None) -> None:
        """Date a first frame that has no time of its own at ``tick``; without it, such frames have none."""
        self._before = None if tick is None else tick - self.period  # tick of the last dated frame
        self._since = 0  # frames since then

    def frame(self, frame: VideoFrame) -> int | None:
        """Return the tick at which a decoded frame is shown; call it for every frame, in decoding order."""
        return self.date(frame.pts, frame.dts)

    def date(self, pts: int | None, dts: int | None) -> int | None:
        """Return the same as :meth:`frame`, from a frame's two timestamps."""
        self._since += 1
        expected = None if self._before is None else round(self._before + self._since * self.period)
        if self.counted:
            pts = None if dts is None else dts - self.delay
        if pts is None:
            return expected
        tick = pts + self._shift
        if expected is not None and not self.counted and tick < expected - self.period - self._back:
            self._shift += expected - tick
            tick = expected
            self.restarts.append((tick, self._shift))
        self._before, self._since = tick, 0
        return tick

    def packet(self, packet: av.Packet) -> int | None:
        """Return the tick of a packet's frame or, in AVI, of the frame that the decoder returns for this packet."""
        if not self.counted:
            return None if packet.pts is None else packet.pts + self._shift
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
