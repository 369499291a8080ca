"""Short real recordings of known content, for the tests of indexing and preparing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def grey(number: int) -> int:
    """The grey level of frame ``number``: 19 levels that lie 12 apart, in an order in which neighbours differ much."""
    return 20 + number * 7 % 19 * 12


def film(
    path: Path,
    frames: int = 12,
    fps: Fraction = Fraction(25),
    size: tuple[int, int] = (48, 64),
    times: list[float] | None = None,
    sound: np.ndarray | None = None,
    rate: int = 48000,
    sound_start: float = 0.0,
    audio_codec: str = "aac",
    flash: int | None = None,
) -> Path:
    """Write a recording whose frame i is of one grey level, ``grey(i)``.

    Args:
        path: the file; its ending chooses the container.
        frames: number of frames.
        fps: frames per second, a multiple of which is the time base.
        size: (height, width).
        times: seconds at which each frame is shown; None for one each ``1 / fps``.
        sound: ``[S]`` float mono.
        rate: samples per second.
        sound_start: seconds at which the first sample is heard.
        audio_codec: FFmpeg's name of it.
        flash: the number of a frame that is white, while all others are black.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(f"file:{path}", "w", options={"movie_timescale": "48000"} if path.suffix == ".mp4" else {}) as out:
        codec = "mpeg4" if path.suffix == ".avi" else "libx264"
        video = out.add_stream(codec, rate=fps, options={"crf": "10"} if codec == "libx264" else {"qscale": "2"})
        video.height, video.width, video.pix_fmt = *size, "yuv420p"
        if times is not None:
            video.codec_context.time_base = Fraction(1, 90000)
        audio = None
        if sound is not None:
            audio = out.add_stream(audio_codec, rate=rate, layout="mono")
        for number in range(frames):
            level = grey(number) if flash is None else 255 * (number == flash)
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), level, np.uint8), format="rgb24")
            frame.time_base = 1 / fps if times is None else Fraction(1, 90000)
            frame.pts = number if times is None else round(times[number] * 90000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None and sound is not None:
            step = 1024
            for start in range(0, len(sound), step):
                samples = sound[None, start : start + step].astype(np.float32)
                piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
                piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
                piece.pts = start + round(sound_start * rate)
                out.mux(audio.encode(piece))
            out.mux(audio.encode(None))
    return path
