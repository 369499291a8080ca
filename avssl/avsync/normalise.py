"""From any recording to one of constant rate, modest size and close keyframes, its sound in place. Decodes it once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from avssl.avsync.options import Normal
from avssl.avsync.reasons import Rejection
from avssl.avsync.store import Record
from avssl.catalog.encode import ROUNDING, Movie, copy_rate, copy_size, sound_frames, write_movie
from avssl.media import MediaError, VideoInfo
from avssl.media.motion import Difference
from avssl.media.pyav import PyAVReader

X264 = {"tune": "fastdecode", "keyint_min": "1"}  # keyframes may lie anywhere, so that there is one where a shot begins


@dataclass
class _Seen:
    """What the sweep over the frames found.

    Attributes:
        seconds: from the first shown frame to the end of the last one.
        failed: why it went no further, if it failed.
        motion: of each frame that was written, mean absolute grey difference to the one before, 0 to 1. It is measured
            before the frame is encoded: afterwards the picture would seem to move at every keyframe.
    """

    seconds: float = 0.0
    failed: Exception | None = None
    motion: list[float] = field(default_factory=list)


def normalise(info: VideoInfo, target: Path, options: Normal, whole: bool) -> Record:
    """Write the normalised recording.

    Its frame k is the source's frame that is nearest to ``k / fps`` in time, so that an event in the picture is, on
    average, neither early nor late, by at most half a frame; sources of the same rate keep their frames. Sound stays
    where it is, to the sample.

    Args:
        info: the source.
        target: the file to write.
        options: what it is like.
        whole: refuse a source that stops decoding before its end.

    Returns:
        A record of what was written: ``seconds``, ``fps`` (a fraction), ``size`` and ``motion`` (float32 in base 64,
        see :class:`_Seen`); or of a rejection (``broken``).
    """
    rate = copy_rate(info.fps, options.fps)
    size = copy_size(info.size, options.short_side)
    movie = Movie(rate, size, options.gop, options.audio_rate)
    seen = _Seen()
    x264 = {**X264, "crf": str(options.crf), "preset": options.preset}
    sound = sound_frames(replace(info, motion=None), info.duration, options.audio_rate)
    try:
        write_movie(target, _pictures(info, rate, size, seen), sound, movie, x264)
    except MediaError as error:
        return Rejection.of(error)._asdict()
    if whole and seen.failed is not None:
        why = f"decoding fails at {seen.seconds:.2f} s of {info.duration:.2f} s ({type(seen.failed).__name__})"
        return Rejection("broken", why)._asdict()
    if seen.seconds == 0:
        return Rejection("broken", f"no frame of its {info.codec} video decodes")._asdict()
    motion = base64.b64encode(np.array(seen.motion, "<f4").tobytes()).decode()
    return {"seconds": seen.seconds, "motion": motion, "fps": [rate.numerator, rate.denominator], "size": list(size)}


def _pictures(info: VideoInfo, rate: Fraction, size: tuple[int, int], seen: _Seen) -> Iterator[VideoFrame]:
    """The frames to write, decoded in one sweep."""
    scaler, difference = VideoReformatter(), Difference()
    shift, number = 1 / (2 * float(rate)) - ROUNDING, 0
    with PyAVReader(info) as reader:
        base = float(reader.base)
        origin: int | None = None
        held: VideoFrame | None = None
        second = before = 0.0
        for tick, frame in reader.sequence():
            origin = tick if origin is None else origin
            before, second = second, (tick - origin) * base
            if held is not None and number / rate + shift < second - 1e-9:
                scaled = _scaled(held, scaler, size, info.rotation)
                while number / rate + shift < second - 1e-9:
                    seen.motion.append(difference(scaled))
                    yield _dated(scaled, number, rate)
                    number += 1
            held = frame
        if held is None:
            return
        shown = (second - before or 1 / info.fps) if info.vfr else 1 / info.fps  # how long the last one lasts
        seen.seconds = second + shown
        seen.failed = reader.failed[1] if reader.failed else None
        scaled = _scaled(held, scaler, size, info.rotation)
        while number == 0 or number / rate + shift < seen.seconds - 1e-9:
            seen.motion.append(difference(scaled))
            yield _dated(scaled, number, rate)
            number += 1


def _dated(frame: VideoFrame, number: int, rate: Fraction) -> VideoFrame:
    frame.pts, frame.time_base = number, 1 / rate
    frame.pict_type = PictureType.NONE  # or x264 would make it what it was in the source
    return frame


def _scaled(frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int], rotation: int) -> VideoFrame:
    """The picture as it is written: upright, of this size, in the one form of colour."""
    height, width = size[::-1] if rotation % 180 else size
    if rotation:
        rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA, threads=1)
        turned = np.ascontiguousarray(np.rot90(rgb.to_ndarray(), -rotation // 90), np.uint8)
        frame, (height, width) = VideoFrame.from_ndarray(turned, format="rgb24"), size
    return reformatter.reformat(
        frame,
        width,
        height,
        "yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA,
        threads=1,
    )
