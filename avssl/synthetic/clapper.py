"""Clapper recordings: a patch lights up as a click sounds, at uneven intervals, over a moving texture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avssl.media.x264 import SAME_BYTES

CLAPS = (13, 40, 58, 91, 107)  # frames at which the patch lights up, at 25 frames per second
LIT = 3  # frames for which it stays lit, fading


def write_clapper(
    path: Path,
    late: float = 0.0,
    frames: int = 125,
    fps: Fraction = Fraction(25),
    size: tuple[int, int] = (64, 80),
    rate: int = 48000,
    codec: str = "aac",
    seed: int = 0,
    audio_frames: int | None = None,
) -> Path:
    """Write a recording of H.264 video and mono sound.

    Args:
        path: file to write; its suffix names the container.
        late: seconds by which every click sounds after its light; negative is before.
        frames: number of frames.
        fps: frames per second.
        size: (height, width).
        rate: sampling rate of the sound.
        codec: FFmpeg's name of the audio codec; empty for no sound.
        seed: seed of the texture; -1 for a still picture.
        audio_frames: length of the sound in frames, if it differs from the picture's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(max(seed, 0))
    lights = clap_frames(frames, fps)
    sound = rng.normal(0, 1e-4, round(float((audio_frames or frames) / fps) * rate)).astype(np.float32)
    for frame in lights:
        place = round((float(frame / fps) + late) * rate)
        if place >= 0:
            sound[place : place + round(0.002 * rate)] = 0.8
    with av.open(f"file:{path}", "w", options={"movie_timescale": "48000"} if path.suffix == ".mp4" else {}) as out:
        video = out.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "ultrafast", **SAME_BYTES})
        (video.height, video.width), video.pix_fmt = size, "yuv420p"
        audio = out.add_stream(codec, rate=rate, layout="mono") if codec else None
        texture = rng.integers(40, 120, (size[0], size[1] * 2)).astype(np.uint8)
        for number in range(frames):
            place = 0 if seed < 0 else number % size[1]
            picture = np.repeat(texture[:, place : place + size[1], None], 3, axis=2)
            since = LIT if seed < 0 else min((number - frame for frame in lights if number >= frame), default=LIT)
            picture[: size[0] // 2, : size[1] // 2] = 10 if since >= LIT else 230 - 60 * since
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            image.pts, image.time_base = number, 1 / fps
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        if audio is not None:
            for start in range(0, len(sound), 1024):
                piece = av.AudioFrame.from_ndarray(sound[None, start : start + 1024].copy(), "fltp", "mono")
                piece.sample_rate, piece.time_base, piece.pts = rate, Fraction(1, rate), start
                out.mux(audio.encode(piece))
            out.mux(audio.encode(None))
    return path


def clap_frames(frames: int, fps: Fraction) -> list[int]:
    """Return the numbers of the frames at which the patch lights up."""
    return [round(clap / 25 * fps) for clap in CLAPS if clap / 25 < frames / fps]
