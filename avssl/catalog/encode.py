"""Training-ready copy of a recording: small, cheap to decode from any position, on the same time axis."""

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
from einops import rearrange
from torch import Tensor

from avssl.media import VideoInfo, open_video
from avssl.media.reading import frame_times
from avssl.media.x264 import SAME_BYTES
from avssl.runtime.checks import check_ranges

Frame = VideoFrame | AudioFrame
Timed = tuple[float, Any, Frame]  # seconds, stream, frame
COMMON_RATES = [Fraction(rate) for rate in (8, 10, 12, 12.5, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120)]
COMMON_RATES += [Fraction(rate * 1000, 1001) for rate in (15, 24, 30, 48, 60, 120)]
MAX_RATE = 30
LIVELY = 8  # frames in a row whose rate is that of a part
LIVELIER = 1.25  # times the mean rate: slower parts are copied at the mean rate, as jitter is no motion
VERSION = 3  # of copies: raise it when the same source and options give another copy
ROUNDING = 1e-3  # seconds; containers round the times of frames
FRAMES_AT_ONCE = 64
SECONDS_AT_ONCE = 600  # of sound
SAMPLES_AT_ONCE = 4096
# mp4 stores how late a track starts in units of 1 / movie_timescale seconds; the default of 1000 would round.
MUXING = {"movie_timescale": "48000", "movflags": "+faststart"}
X264 = {"preset": "medium", "tune": "fastdecode", "sc_threshold": "0"}  # of copies
SMPTE170M = 6  # colour matrix, as numbered by H.264 and FFmpeg


@dataclass(frozen=True)
class CopyOptions:
    """Format of a training-ready copy.

    Attributes:
        short_side: pixels of the shorter side; smaller frames are not enlarged.
        fps: frame rate; None for the source's (that of its liveliest part, if frames are unevenly spaced), at most 30.
        gop: frames from one keyframe to the next; fewer make random access faster and files larger.
        crf: x264's constant rate factor; lower is better and larger.
        audio_rate: samples per second.
        region: crop of every frame, (left, top, right, bottom) as fractions of its width and height;
            (0.3, 0.44, 0.7, 0.76) covers the lips in `talking_faces`.
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
            expected = "(left, top, right, bottom) in [0, 1], left < right, top < bottom"
            raise ValueError(f"region {self.region}: expected {expected}")
        counts = dict.fromkeys(("gop", "audio_rate"), "[1, inf)")
        check_ranges("", self, short_side="[16, inf)", **counts, fps="(0, inf)", crf="[0, 51]")


def copy_rate(source: float, wanted: float | None) -> Fraction:
    """Return the exact frame rate of the copy.

    A rate within 1.5 % of a common one becomes that one. Rates above 30 are divided by a whole number if that leaves at
    least 20, so that frames stay evenly spaced. ``wanted``, if given, replaces the source's rate.
    """
    rate = source if wanted is None else wanted
    nearest = min(COMMON_RATES, key=lambda common: abs(common - rate))
    exact = nearest if abs(nearest - rate) < 0.015 * rate else Fraction(rate).limit_denominator(1001)
    if wanted is not None or exact <= MAX_RATE:
        return exact
    divided = exact / math.ceil(exact / MAX_RATE)
    return divided if divided >= 20 else Fraction(MAX_RATE)


def liveliest_rate(info: VideoInfo) -> float:
    """Return the rate of a recording's liveliest part, in frames per second: of the quickest eight frames in a row.

    It is the mean rate where that is nearly the same, and where frames are evenly spaced.
    """
    if not info.vfr:
        return info.fps
    times = frame_times(info)
    step = min(LIVELY, len(times) - 1)
    if step < 1:
        return info.fps
    quickest = step / max(float((times[step:] - times[:-step]).min()), 1e-6)
    return quickest if quickest > LIVELIER * info.fps else info.fps


def copy_size(source: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Return (height, width) of the copy: even, near the source's aspect ratio, never enlarged."""
    scale = min(1.0, short_side / min(source))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in source)
    return height, width


def write_copy(info: VideoInfo, target: Path, options: CopyOptions) -> None:
    """Write a copy whose frame k is what the source shows at ``k / fps`` seconds, with its sound in the same place.

    A source of unevenly spaced frames is copied at the rate of its liveliest part, up to 30 per second: repeated frames
    take next to no space.

    The format is mp4 with H.264 (no B-frames, CABAC or deblocking) and FLAC, which has no encoder delay and decodes to
    the same samples from any position. Sound before the first shown frame and after the last is dropped; sound that
    starts late does so in the copy. The target's folder must exist.

    Raises:
        MediaError: if the source can't be decoded.
        OSError: if the copy can't be written.
    """
    rate = copy_rate(info.fps if options.fps else liveliest_rate(info), options.fps)
    left, top, right, bottom = options.region
    part = max(1, round(info.size[0] * (bottom - top))), max(1, round(info.size[1] * (right - left)))
    size = copy_size(part, options.short_side)
    count = max(1, math.ceil(info.duration * rate - 1e-6))
    pictures = encodable(_pictures(info, rate, count, size, options.region), rate)
    sound = sound_frames(info, float(count / rate), options.audio_rate)
    movie = Movie(rate, size, options.gop, options.audio_rate)
    write_movie(target, pictures, sound, movie, {**X264, "crf": str(options.crf)})


class Movie(NamedTuple):
    """Streams to write: frame rate, (height, width), both even, most frames between keyframes, and the sound's."""

    fps: Fraction
    size: tuple[int, int]
    gop: int
    audio_rate: int
    audio_codec: str = "flac"  # or "alac"


def write_movie(
    target: Path, pictures: Iterator[VideoFrame], sound: Iterator[AudioFrame], movie: Movie, x264: dict[str, str]
) -> None:
    """Write timestamped frames and sound to mp4: H.264 without B-frames and, if there is sound, FLAC or ALAC.

    Args:
        target: file to write, in an existing folder.
        pictures: frames of ``movie.size`` in the order shown, yuv420p with SMPTE 170M colours.
        sound: 16-bit mono.
        movie: format of the streams.
        x264: further options of the encoder; its output is deterministic.
    """
    with av.open(f"file:{target.absolute()}", "w", format="mp4", options=MUXING) as out:
        video = out.add_stream("libx264", rate=movie.fps, options={**x264, **SAME_BYTES})
        (video.height, video.width), video.pix_fmt = movie.size, "yuv420p"
        video.gop_size, video.max_b_frames = movie.gop, 0
        video.colorspace, video.color_range = SMPTE170M, ColorRange.MPEG.value
        timed: list[Iterator[Timed]] = [_timed(pictures, video)]
        if (first := next(sound, None)) is not None:
            depth = "s16" if movie.audio_codec == "flac" else "s16p"
            audio = out.add_stream(movie.audio_codec, rate=movie.audio_rate, layout="mono", format=depth)
            timed.append(_timed(chain([first], sound), audio))
        for _, stream, frame in heapq.merge(*timed, key=itemgetter(0)):
            out.mux(stream.encode(frame))
        for stream in out.streams:
            out.mux(stream.encode(None))


def _timed(frames: Iterable[Frame], stream: Any) -> Iterator[Timed]:
    for frame in frames:
        yield frame.time or 0.0, stream, frame


def encodable(pictures: Iterable[np.ndarray], rate: Fraction) -> Iterator[VideoFrame]:
    """Yield the frames for `write_movie` of ``[H, W, 3]`` uint8 RGB pictures, ``rate`` per second from 0 on."""
    reformatter = VideoReformatter()
    for number, picture in enumerate(pictures):
        frame = reformatter.reformat(
            VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = number, 1 / rate
        yield frame


def _pictures(
    info: VideoInfo, rate: Fraction, count: int, size: tuple[int, int], region: tuple[float, float, float, float]
) -> Iterator[np.ndarray]:
    left, top, right, bottom = region
    (height, width), whole = size, (round(size[0] / (bottom - top)), round(size[1] / (right - left)))
    above, before = min(round(top * whole[0]), whole[0] - height), min(round(left * whole[1]), whole[1] - width)
    times = torch.arange(count, dtype=torch.float64) / float(rate) + ROUNDING
    times = times.clamp(max=math.nextafter(info.duration, 0))
    at_once = max(1, FRAMES_AT_ONCE * height * width // (whole[0] * whole[1]))  # as many pixels as without a crop
    with open_video(info.path, "pyav", info) as reader:
        for start in range(0, count, at_once):
            video = reader.frames(times[start : start + at_once], whole)
            pixels = rearrange(video[..., above : above + height, before : before + width], "t c h w -> t h w c")
            yield from pixels.contiguous().numpy()


def sound_frames(info: VideoInfo, stop: float, rate: int, late: float = 0.0) -> Iterator[AudioFrame]:
    """Yield the sound between 0 and ``stop`` seconds after the first shown frame, as 16-bit mono.

    Spans without sound at either end are skipped. ``rate`` is in samples per second. Sound that is ``late`` seconds
    late is moved earlier.
    """
    if info.audio is None:
        return
    with open_video(info.path, "pyav", info) as reader:
        for start in range(0, math.ceil(stop), SECONDS_AT_ONCE):
            samples, valid = reader.audio(start + late, min(start + SECONDS_AT_ONCE, stop) + late, rate)
            begin = start + late
            first, last = (math.ceil((valid[0] - begin) * rate - 1e-3), math.floor((valid[1] - begin) * rate + 1e-3))
            yield from pieces(samples[first:last], rate, start * rate + first)


def pieces(samples: Tensor, rate: int, first: int = 0) -> Iterator[AudioFrame]:
    """Split ``[S]`` float samples into 16-bit frames whose timestamps count from sample number ``first``."""
    values = (samples * 2**15).round().clamp(-(2**15), 2**15 - 1).short().numpy()  # lossless for 16-bit sources
    for place in range(0, len(values), SAMPLES_AT_ONCE):
        piece = values[None, place : place + SAMPLES_AT_ONCE]  # [1, S]
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + place, Fraction(1, rate)
        yield frame
