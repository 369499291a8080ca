"""Normalisation: any recording to one of constant rate, modest size and close keyframes, its sound in place."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from avssl.avsync.options import Normal
from avssl.avsync.reasons import Rejection
from avssl.avsync.store import Record
from avssl.catalog.encode import ROUNDING, Movie, copy_rate, copy_size, liveliest_rate, sound_frames, write_movie
from avssl.media import MediaError, VideoInfo
from avssl.media.motion import Difference
from avssl.media.pyav import PyAVReader
from avssl.media.source import SourceError

GLIMPSES = 120  # half seconds of which a picture is kept
X264 = {"tune": "fastdecode", "keyint_min": "1"}  # keyframes anywhere, so that each shot begins with one


@dataclass
class _Sweep:
    """Findings of the sweep over the frames.

    ``motion`` is the mean absolute grey difference of each written frame to the previous one, 0 to 1. It is measured
    before encoding: afterwards the picture would seem to move at every keyframe.
    """

    seconds: float = 0.0  # from the first shown frame to the end of the last one
    failed: Exception | None = None  # at which decoding stopped
    motion: list[float] = field(default_factory=list)
    liveliest: list[float] = field(default_factory=list)  # the same of the block that differs most
    late: list[float] = field(default_factory=list)  # seconds by which each frame is shown later than in the source
    glimpses: dict[int, np.ndarray] = field(default_factory=dict)  # [8, 8] grey levels, by number of the half second


def normalise(
    info: VideoInfo, target: Path, options: Normal, whole: bool, segment: bool = False, late: float = 0.0
) -> Record:
    """Write the normalised recording, decoding the source once.

    Frame k is the source's frame nearest to ``k / fps`` in time, so that events in the picture are on average neither
    early nor late, and by at most half a frame; sources of the same rate keep their frames. Sound stays in place, to
    the sample. If ``whole``, a source that stops decoding before its end is refused. Of a ``segment``, only its own
    part of the recording is decoded. Sound that is ``late`` seconds late is moved into place.

    Returns:
        A record with ``seconds``, ``fps`` (a fraction), ``size`` and, in base 64, ``motion``, ``liveliest``, ``late``
        (float32) and ``glimpses`` (uint8), see :class:`_Sweep`; or a rejection (``broken``).

    Raises:
        SourceError: if the source's bytes can't be had now.
    """
    rate, size = rate_of(info, options), copy_size(info.size, options.short_side)
    movie = Movie(rate, size, options.gop, options.audio_rate)
    sweep = _Sweep()
    x264 = {**X264, "crf": str(options.crf), "preset": options.preset}
    sound = sound_frames(replace(info, motion=None), info.duration, options.audio_rate, late)
    try:
        write_movie(target, _pictures(info, rate, size, sweep, segment), sound, movie, x264)
    except SourceError:
        raise
    except MediaError as error:
        return Rejection.of(error)._asdict()
    if whole and sweep.failed is not None:
        why = f"decoding fails at {sweep.seconds:.2f} s of {info.duration:.2f} s ({type(sweep.failed).__name__})"
        return Rejection("broken", why)._asdict()
    if sweep.seconds == 0:
        return Rejection("broken", f"no frame of its {info.codec} video decodes")._asdict()
    series = {name: packed(np.array(getattr(sweep, name), "<f4")) for name in ("motion", "liveliest", "late")}
    series["glimpses"] = packed(np.array(list(sweep.glimpses.values()), np.uint8))
    return {"seconds": sweep.seconds, "fps": [rate.numerator, rate.denominator], "size": list(size), **series}


def rate_of(info: VideoInfo, options: Normal) -> Fraction:
    """Return the frame rate of the normalised recording."""
    if options.fps != "source":
        return copy_rate(options.fps, options.fps)
    own = liveliest_rate(info)
    return copy_rate(own, own)


def packed(values: np.ndarray) -> str:
    """Return an array's bytes in base 64."""
    return base64.b64encode(values.tobytes()).decode()


def _pictures(
    info: VideoInfo, rate: Fraction, size: tuple[int, int], sweep: _Sweep, segment: bool
) -> Iterator[VideoFrame]:
    """Yield the frames to write, decoded in one sweep."""
    scaler, difference = VideoReformatter(), Difference()
    shift, number = 1 / (2 * float(rate)) - ROUNDING, 0
    for frame, start, stop, last in _shown(info, sweep, segment):
        scaled: VideoFrame | None = None
        while number / rate + shift < stop - 1e-9 or (last and number == 0):
            scaled = scaled or _scaled(frame, scaler, size, info)
            sweep.motion.append(difference(scaled))
            sweep.liveliest.append(difference.liveliest)
            sweep.late.append(float(number / rate) - start)
            half = int(2 * number / rate)
            if half < GLIMPSES and half not in sweep.glimpses and difference.last is not None:
                sweep.glimpses[half] = difference.last.reshape(8, 8, 8, 8).mean((1, 3)).astype(np.uint8)
            scaled.pts, scaled.time_base = number, 1 / rate
            scaled.pict_type = PictureType.NONE  # or x264 would keep the source's frame type
            yield scaled
            number += 1


def _shown(info: VideoInfo, sweep: _Sweep, segment: bool) -> Iterator[tuple[VideoFrame, float, float, bool]]:
    """Yield each frame, the seconds at which it appears and is replaced by the next, and whether it is the last."""
    with PyAVReader(info) as reader:
        origin: int | None = None
        held: VideoFrame | None = None
        second = before = 0.0
        for tick, frame in reader.part() if segment else reader.sequence():
            origin = tick if origin is None else origin
            before, second = second, (tick - origin) * float(reader.base)
            if held is not None:
                yield held, before, second, False
            held = frame
        if held is not None:
            last = (second - before or 1 / info.fps) if info.vfr else 1 / info.fps  # duration of the last frame
            if segment and not reader.failed:
                last = info.duration - second
            sweep.seconds = second + last
            sweep.failed = reader.failed[1] if reader.failed else None
            yield held, second, sweep.seconds, True


def _scaled(frame: VideoFrame, reformatter: VideoReformatter, size: tuple[int, int], info: VideoInfo) -> VideoFrame:
    """Return the frame as it is written: upright, of this size, in yuv420p (BT.601, limited range)."""
    height, width = size[::-1] if info.rotation % 180 else size
    how: dict[str, Any] = {"interpolation": Interpolation.AREA, "threads": 1}
    if info.rotation or info.mirrored:
        rgb = reformatter.reformat(frame, width, height, "rgb24", **how)
        stored = rgb.to_ndarray()[:, ::-1] if info.mirrored else rgb.to_ndarray()
        turned = np.ascontiguousarray(np.rot90(stored, -info.rotation // 90), np.uint8)
        frame, (height, width) = VideoFrame.from_ndarray(turned, format="rgb24"), size
    how |= {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.MPEG}
    return reformatter.reformat(frame, width, height, "yuv420p", **how)
