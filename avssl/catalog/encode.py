"""From any recording to a training-ready copy: small, cheap to decode from anywhere, on the same time axis."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor

from avssl.media import VideoInfo, open_video

Frame = VideoFrame | AudioFrame
Timed = tuple[float, Any, Frame]  # second, the stream it belongs to, and the frame
COMMON_RATES = [
    Fraction(rate) for rate in (8, 10, 12, Fraction(25, 2), 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)
] + [Fraction(rate * 1000, 1001) for rate in (15, 24, 30, 48, 60, 120)]
MAX_RATE = 30
ROUNDING = 1e-3  # seconds by which a container may have rounded the times of two frames against each other
FRAMES_AT_ONCE = 64
SOUND_AT_ONCE = 600  # seconds
SAMPLES_AT_ONCE = 4096
# mp4 says in units of this many a second how late a track starts; its default of 1000 would round.
MUXING = {"movie_timescale": "48000", "movflags": "+faststart"}
SMPTE170M = 6  # the matrix of the colours, as H.264 and FFmpeg number it


@dataclass(frozen=True)
class CopyOptions:
    """What a training-ready copy is like.

    Attributes:
        short_side: pixels of the shorter side; smaller pictures are not enlarged.
        fps: frames a second; None for those of the source, at most 30.
        gop: frames from one keyframe to the next: the fewer, the quicker to read from anywhere, and the larger.
        crf: x264's quality; lower is better and larger.
        audio_rate: samples a second of the sound.
        region: the part of every picture that is kept, (left, top, right, bottom) in shares of its width and height:
            (0.3, 0.44, 0.7, 0.76) are the lips in `talking_faces`.
    """

    short_side: int = 128
    fps: float | None = None
    gop: int = 12
    crf: float = 20.0
    audio_rate: int = 16000
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        left, top, right, bottom = self.region
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(
                f"region {self.region}: expected (left, top, right, bottom) in [0, 1], left < right, top < bottom"
            )
        if self.short_side < 16 or self.gop < 1 or self.audio_rate < 1 or (self.fps is not None and self.fps <= 0):
            raise ValueError(f"{self}: expected short_side >= 16, gop >= 1, fps > 0 and audio_rate > 0")


def copy_rate(source: float, wanted: float | None) -> Fraction:
    """Frames a second of the copy, exactly.

    A rate within 1.5 % of a common one is that one. Sources above 30 are halved (or more) where that leaves at least
    20, so that frames stay evenly spaced.

    Args:
        source: mean frames a second of the source.
        wanted: what the user asks for.
    """
    rate = source if wanted is None else wanted
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    exact = nearest if abs(nearest - rate) < 0.015 * rate else Fraction(rate).limit_denominator(1001)
    if wanted is not None or exact <= MAX_RATE:
        return exact
    divided = exact / math.ceil(exact / MAX_RATE)
    return divided if divided >= 20 else Fraction(MAX_RATE)


def copy_size(source: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(height, width) of the copy: even, of the source's shape as nearly as that allows, never larger."""
    scale = min(1.0, short_side / min(source))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in source)
    return height, width


def write_copy(info: VideoInfo, target: Path, options: CopyOptions) -> None:
    """Write the copy of a recording; frame k is what the source shows at ``k / fps``, sound stays where it is.

    H.264 without B-frames, CABAC and deblocking, and FLAC, in mp4: FLAC has no encoder delay and decodes to the same
    samples from wherever one starts. Sound before the first shown frame and after the last one is left out; sound
    that starts late starts late in the copy.

    Args:
        info: the source.
        target: the file to write; its folder exists.
        options: what the copy is like.

    Raises:
        MediaError: where the source can't be decoded.
        OSError: where the copy can't be written.
    """
    rate = copy_rate(info.fps, options.fps)
    left, top, right, bottom = options.region
    part = max(1, round(info.size[0] * (bottom - top))), max(1, round(info.size[1] * (right - left)))
    size = copy_size(part, options.short_side)
    count = max(1, math.ceil(info.duration * rate - 1e-6))
    x264 = {"preset": "medium", "tune": "fastdecode", "crf": str(options.crf), "sc_threshold": "0"}
    pictures = _pictures(info, rate, count, size, options.region)
    sound = sound_frames(info, float(count / rate), options.audio_rate)
    write_movie(target, pictures, sound, Movie(rate, size, options.gop, options.audio_rate), x264)


class Movie(NamedTuple):
    """The streams of a file to write.

    Attributes:
        fps: frames a second.
        size: (height, width), both even.
        gop: the most frames from one keyframe to the next.
        audio_rate: samples a second.
    """

    fps: Fraction
    size: tuple[int, int]
    gop: int
    audio_rate: int


def write_movie(
    target: Path, pictures: Iterator[VideoFrame], sound: Iterator[AudioFrame], movie: Movie, x264: dict[str, str]
) -> None:
    """Write frames and sound, which carry their own times: H.264 without B-frames and, if there is sound, FLAC, in mp4.

    Args:
        target: the file to write; its folder exists.
        pictures: of ``movie.size``, yuv420p, as SMPTE 170M numbers colours, in the order shown.
        sound: mono, 16 bits.
        movie: what the streams are like.
        x264: the encoder's other options. It runs in one thread, so that the file depends on nothing else.
    """
    with av.open(f"file:{target.absolute()}", "w", format="mp4", options=MUXING) as out:
        video = out.add_stream("libx264", rate=movie.fps, options={**x264, "threads": "1"})
        (video.height, video.width), video.pix_fmt = movie.size, "yuv420p"
        video.gop_size, video.max_b_frames = movie.gop, 0
        video.colorspace, video.color_range = SMPTE170M, ColorRange.MPEG.value
        timed: list[Iterator[Timed]] = [_timed(pictures, video)]
        if (first := next(sound, None)) is not None:
            audio = out.add_stream("flac", rate=movie.audio_rate, layout="mono", format="s16")
            timed.append(_timed(chain([first], sound), audio))
        for _, stream, frame in heapq.merge(*timed, key=itemgetter(0)):
            out.mux(stream.encode(frame))
        for stream in out.streams:
            out.mux(stream.encode(None))


def _timed(frames: Iterable[Frame], stream: Any) -> Iterator[Timed]:
    for frame in frames:
        yield frame.time or 0.0, stream, frame


def _pictures(
    info: VideoInfo, rate: Fraction, count: int, size: tuple[int, int], region: tuple[float, float, float, float]
) -> Iterator[VideoFrame]:
    left, top, right, bottom = region
    (height, width), whole = size, (round(size[0] / (bottom - top)), round(size[1] / (right - left)))
    above, before = min(round(top * whole[0]), whole[0] - height), min(round(left * whole[1]), whole[1] - width)
    times = torch.arange(count, dtype=torch.float64) / float(rate) + ROUNDING
    times = times.clamp(max=math.nextafter(info.duration, 0))
    reformatter = VideoReformatter()
    at_once = max(1, FRAMES_AT_ONCE * height * width // (whole[0] * whole[1]))  # as many pixels as without a region
    with open_video(info.path, "pyav", info) as reader:
        for start in range(0, count, at_once):
            video = reader.frames(times[start : start + at_once], whole)
            pixels = video[..., above : above + height, before : before + width].permute(0, 2, 3, 1)  # [T, H, W, 3]
            for number, picture in enumerate(pixels.contiguous().numpy(), start):
                frame = reformatter.reformat(
                    VideoFrame.from_ndarray(picture, format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU601,
                    dst_color_range=ColorRange.MPEG,
                )
                frame.pts, frame.time_base = number, 1 / rate
                yield frame


def sound_frames(info: VideoInfo, stop: float, rate: int) -> Iterator[AudioFrame]:
    """The sound from 0 to ``stop`` seconds, from where there is some to where there is no more: 16 bits, mono.

    Args:
        info: the source.
        stop: seconds from its first shown frame.
        rate: samples a second.
    """
    if info.audio is None:
        return
    with open_video(info.path, "pyav", info) as reader:
        for start in range(0, math.ceil(stop), SOUND_AT_ONCE):
            samples, valid = reader.audio(start, min(start + SOUND_AT_ONCE, stop), rate)
            first, last = (math.ceil((valid[0] - start) * rate - 1e-3), math.floor((valid[1] - start) * rate + 1e-3))
            yield from pieces(samples[first:last], rate, start * rate + first)


def pieces(samples: Tensor, rate: int, first: int = 0) -> Iterator[AudioFrame]:
    """``[S]`` float samples as frames of 16 bits, dated from sample number ``first`` on."""
    values = (samples * 2**15).round().clamp(-(2**15), 2**15 - 1).short().numpy()  # what was 16 bits stays as it was
    for place in range(0, len(values), SAMPLES_AT_ONCE):
        piece = values[None, place : place + SAMPLES_AT_ONCE]  # [1, S]
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + place, Fraction(1, rate)
        yield frame
