"""Recordings joined in one file, whose clocks start anew: one time axis for their pictures and their sound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
from av.audio.stream import AudioStream

from avssl.media.files import DECODE_ERRORS, MAX_PIXELS, open_container
from avssl.media.source import Source
from avssl.media.timeline import Clock, Restarts, audio_stream, video_stream


class Part(NamedTuple):
    """One of the joined recordings.

    Attributes:
        last: position in the file, in bytes, of the last picture packet before this part.
        first: position of its first picture packet.
        start: container seconds, moved by ``shift``, from which its pictures are shown.
        stop: the same for the next part.
        shift: seconds to add to its dates.
    """

    last: int = -1
    first: int = 0
    start: float = -math.inf
    stop: float = math.inf
    shift: float = 0.0


WHOLE = Part()


class Pictures(NamedTuple):
    """What decoding all pictures from the start shows: their ascending ticks, and the parts of a joined file."""

    ticks: list[int]
    parts: list[Part]


def decode_pictures(path: Path | Source, max_pixels: int = MAX_PIXELS) -> Pictures:
    """Decode all pictures from the start, as far as they decode."""
    dates: list[tuple[int | None, int | None]] = []
    bounds: list[tuple[int, int]] = []  # positions of the packets before and after each restart
    place = -1
    with open_container(path, max_pixels) as container:
        stream = video_stream(container)
        assert stream is not None
        clock, restarts = Clock(container, stream), Restarts()
        try:
            for packet in container.demux(stream):
                before, place = place, place if packet.pos is None else packet.pos
                if restarts.at(packet):
                    bounds.append((before, place))
                dates += [(frame.pts, frame.dts) for frame in packet.decode()]
        except DECODE_ERRORS:
            pass  # the rest is missing
    if dates and not clock.counted:
        known = next((number for number, (pts, _) in enumerate(dates) if pts is not None), 0)
        clock.start(round((dates[known][0] or 0) - known * clock.period))
    ticks = sorted(tick for date in dates if (tick := clock.date(*date)) is not None)
    base = float(clock.base)
    starts = [-math.inf, *(tick * base for tick, _ in clock.restarts), math.inf]
    shifts = [0.0, *(shift * base for _, shift in clock.restarts)]
    parts = [
        Part(*bound, start, stop, shift)
        for bound, start, stop, shift in zip([(-1, 0), *bounds], starts, starts[1:], shifts, strict=False)
    ]
    return Pictures(ticks, parts)


class Joins:
    """Moves the sound of a joined file with the pictures of its part, as soon as a clock is seen to start anew."""

    def __init__(self, path: Path | Source, parts: list[Part] | None = None) -> None:
        self._path, self._parts = path, parts

    @property
    def parts(self) -> list[Part]:
        """The parts of the file, found by decoding its pictures at first use."""
        if self._parts is None:
            self._parts = decode_pictures(self._path).parts
        return self._parts

    def end_of_sound(self) -> float:
        """Return the container seconds at which the last sound ends, moved with its part."""
        end = 0.0
        with open_container(self._path) as container:
            stream, pictures = audio_stream(container), video_stream(container)
            assert stream is not None
            assert pictures is not None
            try:
                for _, packet in self.sound(container.demux(pictures, stream), stream):
                    if packet.pts is not None:
                        end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            except DECODE_ERRORS:
                pass  # the rest is missing
        return end

    def sound(
        self, packets: Iterable[av.Packet], stream: AudioStream, end: float = math.inf
    ) -> Iterator[tuple[Part, av.Packet]]:
        """Yield the sound's packets, dated on the pictures' axis, each with the part that it belongs to.

        A packet belongs to the part whose pictures surround it in the file. Between the last picture of a part and the
        first of the next, it belongs to the next if the sound's clock has started anew.

        Args:
            packets: those of the sound and the pictures, from the start of the file.
            stream: the sound.
            end: container seconds from which on sound isn't needed.
        """
        pictures, sounds = Restarts(), Restarts()
        joined, number, part, place, reached = False, 0, WHOLE, -1, -math.inf
        for packet in packets:
            heard = packet.stream.index == stream.index
            restarted = (sounds if heard else pictures).at(packet)
            joined |= restarted
            base = float(packet.time_base)
            if not heard:
                reached = packet.dts * base if packet.dts is not None else reached
                continue
            place = place if packet.pos is None else packet.pos
            if joined:
                parts = self.parts
                while number + 1 < len(parts) and place >= parts[number + 1].first:
                    number += 1
                if restarted and number + 1 < len(parts) and place > parts[number + 1].last:
                    number += 1
                part = parts[number]
            if packet.pts is not None:
                packet.pts += round(part.shift / base)
                time = packet.pts * base
                if time >= end and (part.stop >= end if joined else reached >= end):
                    return
            yield part, packet
