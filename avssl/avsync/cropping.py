"""Crops of tracked faces: read from a clip as a recording of their own, and written as one."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor

from avssl.avsync.clips import Span
from avssl.avsync.framing import Framing, placements, warp
from avssl.avsync.normalise import X264
from avssl.avsync.options import Normal
from avssl.avsync.tracks import Track
from avssl.catalog.encode import Movie, pieces, write_movie
from avssl.media import AudioClip, VideoInfo, VideoReader, open_video
from avssl.media.reading import Reader

AT_ONCE = 64  # frames


class TrackReader(Reader):
    """A tracked face as a recording of its own: a ``VideoReader`` of the crops of a clip, with the clip's sound.

    Args:
        reader: the clip, which is not closed.
        track: the face, of as many frames as the clip has.
        framing: what is cut out.
    """

    def __init__(self, reader: VideoReader, track: Track, framing: Framing) -> None:
        self.info, self._reader, self._track, self._framing = reader.info, reader, track, framing
        self._shown: Tensor | None = None

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``; all of the clip's crops are kept."""
        seconds = torch.tensor(self.check_times(times), dtype=torch.float64)
        numbers = (seconds * self.info.fps + 1e-3).long().clamp(max=len(self._track.boxes) - 1)
        if self._shown is None:
            self._shown = self._all()
        crops = self._shown[numbers]  # [T, S, S, 3]
        if size is not None and size != tuple(crops.shape[1:3]):
            how = cv2.INTER_AREA if size[0] < crops.shape[1] else cv2.INTER_LINEAR
            some, place = numbers.unique(return_inverse=True)
            scaled = [cv2.resize(crop, size[::-1], interpolation=how) for crop in self._shown[some].numpy()]
            crops = torch.from_numpy(np.stack(scaled))[place]
        return crops.movedim(3, 1)

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """See ``VideoReader.audio``."""
        return self._reader.audio(start, stop, rate, channels)

    def close(self) -> None:
        """Forget the crops."""
        self._shown = None

    def _all(self) -> Tensor:
        pictures = crops_of(self._reader, Span(0, len(self._track.boxes)), self._track, self._framing)
        return torch.from_numpy(np.stack(list(pictures)))


def crops_of(reader: VideoReader, span: Span, track: Track, framing: Framing) -> Iterator[np.ndarray]:
    """Yield ``[S, S, 3]`` uint8 crops of the frames of a span, through which the track lasts."""
    fps, size = reader.info.fps, framing.size
    places = placements(track, framing.part, framing.margin, framing.smooth * fps, framing.aligned, size)  # [T, 2, 3]
    for first in range(span.start, span.stop, AT_ONCE):
        numbers = torch.arange(first, min(first + AT_ONCE, span.stop), dtype=torch.float64)
        frames = reader.frames(numbers / fps).movedim(1, 3).contiguous().numpy()
        for number, frame in enumerate(frames, first - span.start):
            yield warp(frame, places[number], size)


def write_crop(
    info: VideoInfo,
    span: Span,
    shift: float,
    fps: Fraction,
    track: Track,
    framing: Framing,
    normal: Normal,
    codec: str,
    target: Path,
) -> None:
    """Write the crop of a face through a clip, with the clip's sound: as long, to the frame and to the sample.

    Args:
        info: the normalised recording.
        span: the clip.
        shift: seconds by which its sound is moved earlier.
        fps: frames per second of the recording.
        track: the face; where it doesn't last through the clip, its first or last place is shown.
        framing: what is cut out.
        normal: how pictures are encoded.
        codec: of the sound.
        target: file to write.
    """
    assert info.audio is not None
    rate, (start, stop) = info.audio.rate, (float(edge / fps) for edge in span)
    with open_video(info.path, "pyav", info) as reader:
        samples = reader.audio(start + shift, stop + shift, rate).samples
    movie = Movie(fps, (framing.size, framing.size), normal.gop, rate, codec)
    x264 = {**X264, "crf": str(normal.crf), "preset": normal.preset}
    with open_video(info.path, "pyav", info) as reader:
        pictures = _encodable(crops_of(reader, span, track.part(*span), framing), fps)
        write_movie(target, pictures, pieces(samples, rate), movie, x264)


def _encodable(pictures: Iterator[np.ndarray], fps: Fraction) -> Iterator[VideoFrame]:
    scaler = VideoReformatter()
    colours: dict[str, Any] = {"dst_colorspace": Colorspace.ITU601, "dst_color_range": ColorRange.MPEG}
    for number, picture in enumerate(pictures):
        rgb = VideoFrame.from_ndarray(picture, format="rgb24")
        frame = scaler.reformat(rgb, format="yuv420p", threads=1, **colours)
        frame.pts, frame.time_base = number, 1 / fps
        yield frame
