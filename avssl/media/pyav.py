"""The reference reader: FFmpeg by PyAV, with frames found by presentation time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, dropwhile

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from avssl.media.audio import read_audio
from avssl.media.errors import MediaError
from avssl.media.files import DECODE_ERRORS, open_container, place_of
from avssl.media.info import AudioClip, VideoInfo
from avssl.media.joins import Joins
from avssl.media.reading import Reader
from avssl.media.timeline import Clock, Restarts, video_stream

_SKIPPABLE = {"h264", "hevc", "mpeg4", "mpeg2video"}  # codecs in which skipping unreferenced frames changes no other
_CLOSE = 0.2  # seconds within which decoding forward beats any seek
_NEAR = 3.0  # seconds to decode forward rather than seek, if the container has no keyframe index


class PyAVReader(Reader):
    """A ``VideoReader`` for every container and all sound."""

    def __init__(self, info: VideoInfo, threads: int = 1) -> None:
        self.info = info
        self._threads = threads
        self.doubted = False  # a keyframe turned out not to be one, or not to come in time
        self.last_key: int | None = None  # tick of the last packet marked as one that decoding may start from
        self._scaler, self._reformatter = VideoReformatter(), VideoReformatter()
        self._joins = Joins(place_of(info))
        self._open()

    def _open(self) -> None:
        self._container: InputContainer = open_container(
            place_of(self.info), known=self.info.container.startswith("mov")
        )
        stream = video_stream(self._container)
        if stream is None:
            self._container.close()
            raise MediaError(self.info.path, "no_video", "it has no video stream", "Rebuild the manifest")
        if self._threads > 1:
            stream.thread_type, stream.codec_context.thread_count = "SLICE", self._threads
        self._stream = stream
        self._clock = Clock(self._container, stream)
        self._origin = self._clock.ticks(self.info.origin)
        self._begin = self._clock.ticks(self.info.origin - self.info.start)  # of the file
        # A frame is shown for at least and at most this many ticks; 0 if frames are not evenly spaced.
        period = 0.0 if self.info.vfr else float(1 / (self.info.fps * self._clock.base))
        rounded = 0 if abs(period - round(period)) <= 1e-6 * period else 1
        self._shortest = max(0, math.floor(period) - 1) if rounded else round(period)
        self._longest = math.ceil(period) + 1 if rounded else round(period)
        # In AVI a packet may hold two frames (packed B-frames); the second one comes out a few packets later.
        self._margin = self._longest + (4 if self._clock.counted else 0)
        self._skips = self._shortest > 0 and stream.codec_context.codec.canonical_name in _SKIPPABLE
        self._skips &= not self._clock.counted or self._clock.period == 1
        if not self.info.seekable and not self._clock.counted:
            self._clock.start(self._begin)
        self._heard = False
        self._close = self._clock.ticks(_CLOSE)
        self._target: int | None = None  # the requested tick
        self._start(self._container.demux(stream), self._begin)

    def _start(self, packets: Iterable[av.Packet], first: int) -> None:
        """Start decoding here; frames shown before tick ``first`` may lack their reference frames."""
        if self.info.seekable and not self._clock.counted:
            self._clock.start(None)
        self._shown = self._decode(packets, first)
        self._held: tuple[int, VideoFrame] | None = None  # shown at or before the last target
        self._ahead: tuple[int, VideoFrame] | None = None  # shown after it
        self._at: int | None = first  # None after another stream moved the file position
        self._failed: tuple[int, Exception] | None = None  # tick and reason

    def close(self) -> None:
        """Release the file, its threads and its memory."""
        self._shown, self._held, self._ahead = iter(()), None, None
        self._container.close()

    def sequence(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield all frames from the first to the last that decodes, each with its tick (of ``base`` seconds)."""
        self._container.close()
        self._open()
        yield from self._shown

    def part(self) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the frames of a segment, from its first to its last that decodes, each with its tick.

        Raises:
            MediaError: if the first can't be decoded.
        """
        stop = self._clock.ticks(self.info.origin + self.info.duration)
        self.frame(self._origin)
        while self._held is not None and self._held[0] < stop:
            yield self._held
            self._held, self._ahead = self._ahead or next(self._shown, None), None
        self._at = None

    @property
    def base(self) -> Fraction:
        """Seconds of one tick."""
        return self._clock.base

    @property
    def failed(self) -> tuple[int, Exception] | None:
        """The tick at which decoding failed, and why."""
        return self._failed

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """See ``VideoReader.audio``."""
        if self._heard or not self.info.seekable:  # an AAC decoder's noise depends on what it decoded before
            self._container.close()
            self._open()
        self._heard = True
        self._at = self._held = self._ahead = None
        return read_audio(self._container, self.info, start, stop, rate, self._joins, channels)

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``; the result is channels-last in memory."""
        targets = [self._origin + self._clock.ticks(time) for time in self.check_times(times)]
        wanted = sorted(set(targets))
        height, width = size or self.info.size
        stored = (width, height) if self.info.rotation % 180 else (height, width)
        pixels = np.empty((len(wanted), *stored, 3), dtype=np.uint8)  # [U, H, W, 3]
        for place, target in enumerate(wanted):
            try:
                self._copy(self.frame(target), pixels[place])
            except (av.error.FFmpegError, OSError) as error:
                where = float((target - self._origin) * self._clock.base)
                why = f"the frame at {where:.2f} s can't be converted to RGB ({error.strerror})"
                raise MediaError(self.info.place, "corrupt", why, "Convert the file to BT.709 colours") from error
        video = torch.from_numpy(pixels)
        if wanted != targets:
            video = video[[bisect_left(wanted, target) for target in targets]]  # [T, H, W, 3]
        if self.info.mirrored:
            video = video.flip(2)
        if self.info.rotation:
            video = torch.rot90(video, -self.info.rotation // 90, (1, 2))
        return video.permute(0, 3, 1, 2)

    def _copy(self, frame: VideoFrame, out: np.ndarray) -> None:
        height, width = out.shape[:2]
        if (frame.height, frame.width) != (height, width):  # straight to rgb24, pairs of pixels would share their hue
            frame = self._scaler.reformat(frame, width, height, "gbrp", interpolation=Interpolation.AREA, threads=1)
        rgb = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        out[:] = rows[:, : 3 * width].reshape(height, width, 3)

    def frame(self, target: int) -> VideoFrame:
        """Return the last frame shown at or before a tick."""
        if not self._ahead_of(target):
            self.seek(target)
        self._target = target
        while self._held is None or target >= self._held[0] + max(self._shortest, 1):
            self._ahead = self._ahead or next(self._shown, None)
            if self._ahead is None or self._ahead[0] > target:
                break
            self._held, self._ahead = self._ahead, None
            self._at = self._held[0]
        self._check_reached(target)
        assert self._held is not None
        return self._held[1]

    def _ahead_of(self, target: int) -> bool:
        """Return True if decoding forward from here is the quickest way to a tick."""
        if self._at is None or target < self._at:
            return False
        if target - self._at < self._close:
            return True
        index = self._stream.index_entries
        place = index.search_timestamp(target) if len(index) else -1
        if place < 0:
            return not self.info.seekable or (target - self._at) * self._clock.base < _NEAR
        return not self.info.seekable or index[place].timestamp <= self._at

    def seek(self, target: int) -> None:
        """Start decoding from the last keyframe shown at or before a tick, or from the start of the file.

        A keyframe counts only if the first frame that comes out is one and is shown by then: recovery points of
        intra-refresh, wrong indexes and edit lists give others.
        """
        margin, second = 0, self._clock.ticks(1.0)
        self._target = target
        while self.info.seekable:
            packets = self._keyframe(target - margin)
            first = next(packets, None)
            tick = first and self._clock.packet(first)
            if first is not None and tick is not None and tick <= target:
                self._start(chain([first], packets), tick)
                self._ahead = next(self._shown, None)
                if self._ahead is not None and self._ahead[0] <= target and self._ahead[1].key_frame:
                    return
                self.doubted = True
            if target - margin <= self._begin:
                break
            margin = 2 * margin or second
        self._container.close()
        self._open()

    def _keyframe(self, tick: int) -> Iterator[av.Packet]:
        """Yield packets from the keyframe that the container's own seek finds; none if it fails."""
        try:
            self._container.seek(tick, stream=self._stream)
            packets = self._container.demux(self._stream)
            yield from dropwhile(lambda packet: not packet.is_keyframe, packets)
        except DECODE_ERRORS as error:
            self._failed = tick, error

    def _decode(self, packets: Iterable[av.Packet], first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield ticks and frames in display order; after a decoding failure, the decoder's remaining frames as well."""
        codec, clock = self._stream.codec_context, self._clock
        codec.skip_frame = "DEFAULT"
        here, skipping, restarts = first, False, Restarts()
        try:
            for packet in packets:
                tick = clock.packet(packet)
                if not self.info.seekable and self._skips and not clock.counted and packet.size:
                    self._skips = tick is not None and not restarts.at(packet)
                    if not self._skips:  # frames must be counted, or packets of the next part are dated otherwise
                        codec.skip_frame, skipping = "DEFAULT", False
                if tick is not None:
                    here, self.last_key = tick, tick if packet.is_keyframe else self.last_key
                    # Skip frames that end before the target; from the target on, decode all.
                    skip = self._skips and self._target is not None and self._target - tick > self._margin
                    if skip != skipping:
                        codec.skip_frame, skipping = "NONREF" if skip else "DEFAULT", skip
                for frame in packet.decode():
                    shown = clock.frame(frame)
                    if shown is not None and shown >= first:
                        yield shown, frame
        except DECODE_ERRORS as error:
            self._failed = here, error
        if not self._failed:
            return
        try:
            late = list(codec.decode(None))
        except DECODE_ERRORS:
            return  # the decoder failed at the very end and holds no more frames
        for frame in late:
            shown = clock.frame(frame)
            if shown is not None and first <= shown < here:
                yield shown, frame

    def _check_reached(self, target: int) -> None:
        """Raise if decoding ended before the frame shown at a tick."""
        held = None if self._held is None else self._held[0]
        if held is not None and (self._ahead is not None or target <= held + self._longest):
            return
        if held is not None and not self._failed and not self._longest:
            return  # the last of unevenly spaced frames, which may last long
        end = self._failed[0] if self._failed else (held or self._origin)
        where = f"{float((end - self._origin) * self._clock.base):.2f} s of {self.info.duration:.2f} s"
        wish = f"the frame at {float((target - self._origin) * self._clock.base):.2f} s can't be read"
        remedy = "Rebuild the manifest: it keeps the part that decodes"
        if self._failed:
            why = f"decoding fails at {where} ({type(self._failed[1]).__name__}), so {wish}"
            raise MediaError(self.info.place, "corrupt", why, remedy)
        raise MediaError(self.info.place, "truncated", f"the file ends at {where}, so {wish}", remedy)
