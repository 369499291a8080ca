"""Recordings whose content is known: every frame shows its number as a bar code, and clicks sound with some frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

BITS = 8
CLICK_EVERY = 10  # frames
CLICK_RISE = 0.35  # of the peak: where a click is said to begin


@dataclass(frozen=True)
class Recipe:
    """How to write one recording."""

    name: str  # file name; its suffix names the container
    video: str = "libx264"
    audio: str | None = "aac"
    fps: Fraction = Fraction(25)
    frames: int = 60
    gop: int = 12
    b_frames: int = 2
    size: tuple[int, int] = (96, 128)
    rate: int = 48000
    layout: str = "stereo"
    video_start: float = 0.0
    audio_start: float = 0.0
    rotation: int = 0  # clockwise degrees
    pix_fmt: str = "yuv420p"
    fine: bool = True  # a fine encoder time base: packets may have no duration
    gaps: tuple[int, ...] = (1,)  # frames from one to the next in units of 1 / fps, repeated
    options: dict[str, str] = field(default_factory=dict, hash=False)
    container_options: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def steps(self) -> np.ndarray:
        """``[frames]`` when each frame is shown, in units of 1 / fps."""
        gaps = np.resize(self.gaps, self.frames)
        return np.concatenate([[0], np.cumsum(gaps)[:-1]])

    @property
    def times(self) -> np.ndarray:
        """``[frames]`` seconds from the first shown frame."""
        return self.steps / float(self.fps)

    @property
    def clicks(self) -> np.ndarray:
        """Seconds at which clicks begin."""
        return self.times[5::CLICK_EVERY]


def picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """``[H, W, 3]`` uint8: eight stripes, white for 1 and black for 0, over a background that changes."""
    height, width = size
    image = np.full((height, width, 3), 64 + number % 64, np.uint8)
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[: height // 2 + 8, left:right] = 235 if number >> bit & 1 else 16
    return image


def number(image: Tensor) -> int:
    """The number that a ``[3, H, W]`` picture shows."""
    height, width = image.shape[1:]
    grey = image.float().mean(0)
    value = 0
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        edge = (right - left) // 4
        value |= int(grey[height // 8 : height * 3 // 8, left + edge : right - edge].mean() > 125) << bit
    return value


def sound(recipe: Recipe, seconds: float) -> np.ndarray:
    """``[S]`` float32: a click of 1 ms at each of the recipe's, silence between them."""
    samples = np.zeros(round(seconds * recipe.rate), np.float32)
    length = round(0.001 * recipe.rate)
    for click in recipe.clicks:
        place = round((click + recipe.video_start - recipe.audio_start) * recipe.rate)
        if place >= 0:
            samples[place : place + length] = 0.8
    return samples


def write(recipe: Recipe, folder: Path) -> Path:
    """Write a recording."""
    path = folder / recipe.name
    base = Fraction(1, 90000) if recipe.fine else 1 / recipe.fps
    with av.open(str(path), "w", options=recipe.container_options) as out:
        video = out.add_stream(recipe.video, rate=recipe.fps)
        turns = recipe.rotation // 90
        height, width = recipe.size
        video.height, video.width = (width, height) if turns % 2 else (height, width)
        video.pix_fmt = recipe.pix_fmt
        video.codec_context.time_base = base
        video.codec_context.gop_size = recipe.gop
        video.codec_context.max_b_frames = recipe.b_frames
        video.options = recipe.options
        if recipe.rotation:
            video.set_display_rotation(-recipe.rotation)
        audio = None
        if recipe.audio:
            audio = out.add_stream(recipe.audio, rate=recipe.rate, layout=recipe.layout)
        for index, step in enumerate(recipe.steps.tolist()):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.rot90(picture(index, recipe.size), turns)), format="rgb24"
            )
            frame.time_base = base
            frame.pts = round((step / recipe.fps + Fraction(recipe.video_start)) / base)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            _write_sound(recipe, out, audio)
    return path


def _write_sound(recipe: Recipe, out: av.container.OutputContainer, audio: av.AudioStream) -> None:
    seconds = float(recipe.times[-1]) + recipe.video_start - recipe.audio_start + 0.2
    samples = sound(recipe, seconds)
    channels = av.AudioLayout(recipe.layout).nb_channels
    size = audio.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=audio.codec_context.format, layout=recipe.layout, rate=recipe.rate)
    for place in range(0, len(samples), size):
        chunk = np.repeat(samples[None, place : place + size], channels, axis=0)  # [C, S]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout=recipe.layout)
        frame.sample_rate = recipe.rate
        frame.pts = place + round(recipe.audio_start * recipe.rate)
        frame.time_base = Fraction(1, recipe.rate)
        for part in resampler.resample(frame):
            out.mux(audio.encode(part))
    out.mux(audio.encode(None))


def cut_copy(source: Path, target: Path, start: float) -> Path:
    """Cut without decoding: packets from the keyframe before ``start`` on, dated so that ``start`` becomes zero."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in inside.streams}
        video = inside.streams.video[0]
        inside.seek(round(start / video.time_base), stream=video)
        for packet in inside.demux():
            if packet.dts is None:
                continue
            stream = packet.stream
            shift = round(start / packet.time_base)
            if stream.type == "audio" and packet.pts + packet.duration <= shift:
                continue
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = streams[stream.index]
            out.mux(packet)
    return target


def onsets(samples: Tensor, rate: int) -> np.ndarray:
    """Seconds at which clicks begin: first crossing of a share of the peak, and quiet for 50 ms before."""
    loud = np.abs(samples.numpy())
    over = np.flatnonzero(loud > CLICK_RISE * loud.max())
    first = over[np.diff(over, prepend=-rate) > 0.05 * rate]
    return first / rate


RECIPES = [
    Recipe("h264.mp4"),
    Recipe("duration_known.mp4", fine=False),
    Recipe("no_b.mp4", b_frames=0),
    Recipe("long_gop.mp4", gop=250),
    Recipe("open_gop.mp4", options={"x264-params": "open-gop=1:keyint=12"}),
    Recipe("pyramid.mp4", b_frames=5, options={"x264-params": "b-pyramid=normal:bframes=5:b-adapt=0"}),
    Recipe("faststart.mp4", container_options={"movflags": "faststart"}),
    Recipe("mono16k.mp4", rate=16000, layout="mono"),
    Recipe("cd_rate.mp4", rate=44100),
    Recipe("surround.mp4", layout="5.1"),
    Recipe("ntsc_film.mp4", fps=Fraction(24000, 1001)),
    Recipe("ntsc.mp4", fps=Fraction(30000, 1001)),
    Recipe("ntsc_fast.mp4", fps=Fraction(60000, 1001)),
    Recipe("vfr.mp4", gaps=(1, 2, 1, 4)),
    Recipe("audio_late.mp4", audio_start=0.5),
    Recipe("video_late.mp4", video_start=0.5),
    Recipe("turned90.mp4", rotation=90),
    Recipe("turned180.mp4", rotation=180),
    Recipe("turned270.mov", rotation=270),
    Recipe("odd_size.mp4", size=(97, 129), pix_fmt="yuv444p"),
    Recipe("ten_bit.mp4", pix_fmt="yuv420p10le"),
    Recipe("hevc.mp4", video="libx265", options={"x265-params": "log-level=none:pools=none:frame-threads=1"}),
    Recipe("silent_film.mp4", audio=None),
    Recipe("one_frame.mp4", frames=1, audio=None),
    Recipe("comma, ünï %03d.mp4"),
    Recipe("pcm.mov", audio="pcm_s16le"),
    Recipe("aac.mkv"),
    Recipe("flac.mkv", audio="flac"),
    Recipe("audio_late.mkv", audio_start=0.5),
    Recipe("both_late.mkv", audio_start=5.0, video_start=5.0),
    Recipe("ntsc.mkv", fps=Fraction(30000, 1001)),
    Recipe("vfr.mkv", gaps=(1, 2, 1, 4)),
    Recipe("vp9.webm", video="libvpx-vp9", audio="libopus", b_frames=0, options={"deadline": "realtime"}),
    Recipe("vp8.webm", video="libvpx", audio="libopus", b_frames=0, options={"deadline": "realtime"}),
    Recipe("mpeg4.avi", video="mpeg4", audio="libmp3lame", b_frames=0, fine=False),
    Recipe("mpeg4_b.avi", video="mpeg4", audio="libmp3lame", fine=False),
    Recipe("mjpeg.avi", video="mjpeg", audio="pcm_s16le", b_frames=0, fine=False, pix_fmt="yuvj420p"),
    Recipe("h264.ts", container_options={"mpegts_flags": "resend_headers"}),
    Recipe("h264.flv"),
    Recipe("mpeg2.mpg", video="mpeg2video", audio="mp2", fine=False),
    Recipe("fragmented.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
]
EXACT = (".mp4", ".mov", ".mkv", ".webm")
