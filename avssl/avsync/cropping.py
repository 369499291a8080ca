"""Parts of tracked faces: read as recordings of their own, and written as such."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avssl.avsync.clips import Span
from avssl.avsync.framing import Framing, placements, warp
from avssl.avsync.normalise import X264
from avssl.avsync.options import Normal
from avssl.avsync.tracks import Track
from avssl.catalog.encode import Movie, encodable, pieces, write_movie
from avssl.media import AudioClip, VideoInfo, VideoReader, open_video
from avssl.media.reading import Reader

AT_ONCE = 64  # frames


class TrackReader(Reader):
    """A reader that shows only a part of one face, which moves with it, with the recording's sound.

    Its recording lasts as long as the track. Take it wherever a reader is taken, with the region `WHOLE`.

    Args:
        reader: of the recording, which must have a constant frame rate; it is not closed.
        track: a face in it.
        framing: what is cut out.
    """

    def __init__(self, reader: VideoReader, track: Track, framing: Framing) -> None:
        self._reader, self._track, self._framing = reader, track, framing
        source, sound, length = reader.info, reader.info.audio, len(track.boxes)
        self._start = track.start / source.fps
        self.info: VideoInfo = replace(
            source,
            num_frames=length,
            duration=length / source.fps,
            size=(framing.size, framing.size),
            audio=sound and replace(sound, start=sound.start - self._start),
        )

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Read ``[T, 3, height, width]`` uint8 at ``[T]`` seconds from the track's first frame; see ``VideoReader``."""
        seconds = torch.tensor(self.check_times(times), dtype=torch.float64)
        numbers = (seconds * self.info.fps + 1e-3).long().clamp(max=self.info.num_frames - 1)
        some, place = numbers.unique(return_inverse=True)
        height, width = size or self.info.size
        framing = self._framing._replace(size=max(height, width))
        pictures = list(crops_of(self._reader, some.tolist(), self._track, framing))
        if height != width:
            pictures = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in pictures]
        return torch.from_numpy(np.stack(pictures)).movedim(3, 1)[place]

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """Read sound; see ``VideoReader.audio``."""
        clip = self._reader.audio(start + self._start, stop + self._start, rate, channels)
        return AudioClip(clip.samples, (clip.valid[0] - self._start, clip.valid[1] - self._start))

    def close(self) -> None:
        """Do nothing: the reader belongs to the caller."""


def crops_of(reader: VideoReader, numbers: Sequence[int], track: Track, framing: Framing) -> Iterator[np.ndarray]:
    """Yield ``[S, S, 3]`` uint8 crops of frames of a track, which count from its first."""
    fps, size = reader.info.fps, framing.size
    places = placements(track, framing.part, framing.margin, framing.smooth * fps, framing.aligned, size)  # [T, 2, 3]
    for first in range(0, len(numbers), AT_ONCE):
        some = numbers[first : first + AT_ONCE]
        times = (torch.tensor(some, dtype=torch.float64) + track.start) / fps + 1e-6
        frames = reader.frames(times.clamp(max=reader.info.duration - 1e-6)).movedim(1, 3).contiguous().numpy()
        for number, frame in zip(some, frames, strict=True):
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
    movie = Movie(fps, (framing.size, framing.size), normal.gop, rate, codec)
    x264 = {**X264, "crf": str(normal.crf), "preset": normal.preset}
    with open_video(info.path, "pyav", info) as reader:
        samples = reader.audio(start + shift, stop + shift, rate).samples
    with open_video(info.path, "pyav", info) as reader:
        pictures = crops_of(reader, range(span.stop - span.start), track.part(*span), framing)
        write_movie(target, encodable(pictures, fps), pieces(samples, rate), movie, x264)
