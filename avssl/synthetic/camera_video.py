"""Recordings of cameras with known settings: videos filmed once more, coded as H.264, and a side file of each."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from avssl.media import open_video, probe
from avssl.media.x264 import SAME_BYTES
from avssl.runtime.files import growing, write_text
from avssl.synthetic.camera_pipeline import CameraPipeline, settings_of

CRFS = (18, 23, 28, 35)  # constant rate factors: 18 is nearly without loss, 23 x264's default


def encode(frames: Tensor, fps: int, crf: int, file: str | io.BytesIO) -> None:
    """Write frames ``[T, 3, H, W]`` uint8 as H.264 in mp4, without sound; height and width have to be even."""
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"preset": "veryfast", "crf": str(crf), **SAME_BYTES}
        )
        stream.height, stream.width = frames.shape[-2:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for number, pixels in enumerate(frames.permute(0, 2, 3, 1).contiguous().numpy()):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def recoded(frames: Tensor, crf: int, fps: int = 25) -> Tensor:
    """Encode frames ``[T, 3, H, W]`` uint8 as H.264 and decode them, in memory; height and width have to be even."""
    file = io.BytesIO()
    encode(frames, fps, crf, file)
    file.seek(0)
    with av.open(file) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]
    return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).contiguous()


def film_videos(
    videos: Sequence[Path],
    folder: Path,
    pipeline: CameraPipeline | None = None,
    size: int = 128,
    seconds: float = 2.0,
    fps: int = 25,
    crfs: Sequence[int] = CRFS,
    seed: int = 0,
) -> list[Path]:
    """Film recordings, each by a camera of its own, and write its settings beside each.

    ``<number>.mp4`` are the middle squares of the recordings' frames, scaled to ``size``, filmed by the pipeline and
    coded as H.264; ``<number>.camera.json`` has the settings and ``h264``, the constant rate factor. The settings of a
    recording depend on the seed and its number alone.

    Args:
        videos: recordings to film.
        folder: to write.
        pipeline: the cameras; None takes the default levels.
        size: height and width in pixels, even.
        seconds: length, at most.
        fps: frames per second.
        crfs: constant rate factors of H.264, drawn like other settings.
        seed: of settings and noise.

    Returns:
        The files.

    Raises:
        MediaError: if a recording can't be read.
        ValueError: if the size is odd.
    """
    if size % 2:
        raise ValueError(f"film_videos: H.264 takes an even size, got {size}")
    pipeline = pipeline or CameraPipeline()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, path in enumerate(videos):
        rng = torch.Generator().manual_seed(seed * 1_000_003 + number)
        settings = pipeline.draw(1, rng)
        crf = crfs[int(torch.randint(len(crfs), (), generator=rng))]
        info = probe(path)
        times = torch.arange(max(1, int(min(seconds, info.duration) * fps)), dtype=torch.float64) / fps
        with open_video(path, info=info) as reader:
            height, width = info.size
            scale = size / min(height, width)
            frames = reader.frames(times, (max(size, round(height * scale)), max(size, round(width * scale))))
        top, left = ((side - size) // 2 for side in frames.shape[-2:])
        frames = frames[..., top : top + size, left : left + size]
        filmed = pipeline(frames / 255, settings.expand(len(frames), -1), rng)
        target = folder / f"{number:05d}.mp4"
        with growing(target) as partial:
            encode((255 * filmed).round().to(torch.uint8), fps, crf, str(partial))
        values = {**settings_of(settings[0]), "h264": crf}
        write_text(target.with_suffix(".camera.json"), json.dumps(values, indent=1) + "\n")
        written.append(target)
    return written
