"""The mouth or face of a track as a recording of its own: to measure its sound by, and to learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast, get_args

import cv2
import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor

from avssl.avsync.faces import find_tracks
from avssl.avsync.tracks import Track, crops
from avssl.catalog.encode import Movie, sound_frames, write_movie
from avssl.media import AudioClip, VideoInfo, VideoReader, open_video
from avssl.media.regions import WHOLE, Part, shown_of
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Offset, find_offset

Name = Literal["face", "mouth", "person"]
SMOOTH = 2.0  # frames, standard deviation of the smoothing of a crop's place
SIDE = 96  # pixels of a copy
FPS, RATE, GOP = Fraction(25), 16000, 12  # of a copy
X264 = {"preset": "medium", "tune": "fastdecode", "crf": "18", "sc_threshold": "0"}
AT_ONCE = 64  # frames


class TrackReader:
    """A reader that shows only a square around a part of one face, which moves with it.

    Its recording lasts as long as the track. Take it wherever a reader is taken, with the region `WHOLE`.

    Args:
        reader: of the recording, which must have a constant frame rate.
        track: a face in it.
        part: what is shown.

    Raises:
        ValueError: if the part is unknown.
    """

    def __init__(self, reader: VideoReader, track: Track, part: Part) -> None:
        self._reader, self._start = reader, track.start / reader.info.fps
        if part.of not in get_args(Name):
            raise ValueError(f"{part.of!r} is no part of a face that is tracked: expected {', '.join(get_args(Name))}")
        self.squares = crops(track, cast(Name, part.of), part.margin, SMOOTH)  # [T, 3]
        source, sound = reader.info, reader.info.audio
        length, side = len(self.squares), max(2, round(float(self.squares[0, 2])))
        self.info: VideoInfo = replace(
            source,
            num_frames=length,
            duration=length / source.fps,
            size=(side, side),
            audio=sound and replace(sound, start=sound.start - self._start),
        )

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Read ``[T, 3, height, width]`` uint8 at ``[T]`` seconds from the track's first frame; see ``VideoReader``."""
        height, width = size or self.info.size
        places = (times * self.info.fps + 1e-6).floor().long().clamp(0, len(self.squares) - 1)
        whole = self._reader.frames(places / self.info.fps + self._start + 1e-6).movedim(1, 3).contiguous()
        parts = [
            warp(frame, self.squares[place], (height, width))
            for frame, place in zip(whole.numpy(), places.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(parts)).movedim(3, 1)

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """Read sound; see ``VideoReader.audio``."""
        clip = self._reader.audio(start + self._start, stop + self._start, rate, channels)
        return AudioClip(clip.samples, (clip.valid[0] - self._start, clip.valid[1] - self._start))

    def close(self) -> None:
        """Do nothing: the reader belongs to the caller."""

    def __enter__(self) -> TrackReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def warp(frame: np.ndarray, square: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a square (centre x, y and side) out of ``[H, W, 3]`` and scale it; black beyond the picture."""
    x, y, side = square
    down, across = size[0] / side, size[1] / side
    place = np.array([[across, 0, size[1] / 2 - across * x], [0, down, size[0] / 2 - down * y]])
    if down >= 1:
        return cv2.warpAffine(frame, place, size[::-1], flags=cv2.INTER_LINEAR)
    whole = cv2.warpAffine(frame, place / down, (round(size[1] / down), round(size[0] / down)), flags=cv2.INTER_LINEAR)
    return cv2.resize(whole, size[::-1], interpolation=cv2.INTER_AREA)


def largest(tracks: list[Track]) -> Track:
    """Return the track that covers most of the pictures, over all its frames."""
    return max(tracks, key=lambda track: float(track.boxes[:, 2:].prod(axis=1).sum()))


def write_part(info: VideoInfo, track: Track, part: Part, target: Path, side: int = SIDE) -> None:
    """Write a copy of the mouth or face of a track: H.264 at 25 frames per second, with its sound in the same place.

    The target's folder must exist; note what it shows by `avssl.media.regions.note_region`.

    Raises:
        MediaError: if the recording can't be decoded.
        ValueError: if its frames are unevenly spaced.
    """
    if info.vfr:
        raise ValueError(f"{info.path}: frames are unevenly spaced; normalise it first (`avssl build`)")
    with open_video(info.path, "pyav", info) as reader:
        shown = TrackReader(reader, track, part)
        length, late = shown.info.duration, track.start / info.fps
        pictures = _pictures(shown, math.ceil(length * FPS - 1e-6), side)
        sound = sound_frames(info, length, RATE, late)
        write_movie(target, pictures, sound, Movie(FPS, (side, side), GOP, RATE), X264)


def _pictures(shown: TrackReader, count: int, side: int) -> Iterator[VideoFrame]:
    reformatter = VideoReformatter()
    nearest = 0.5 / shown.info.fps - 1e-4  # to the frame nearest in time: none is late on average
    times = (torch.arange(count, dtype=torch.float64) / float(FPS) + nearest).clamp(max=shown.info.duration - 1e-6)
    for first in range(0, count, AT_ONCE):
        frames = shown.frames(times[first : first + AT_ONCE], (side, side)).movedim(1, 3).contiguous().numpy()
        for number, picture in enumerate(frames, first):
            frame = reformatter.reformat(
                VideoFrame.from_ndarray(picture, format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU601,
                dst_color_range=ColorRange.MPEG,
            )
            frame.pts, frame.time_base = number, 1 / FPS
            yield frame


def learnt_part(network: Synchroniser) -> Part:
    """Return the part of tracked faces that a network learnt from.

    Raises:
        ValueError: if it learnt from something else.
    """
    part = shown_of(network.card.get("region", WHOLE))
    if not isinstance(part, Part):
        raise ValueError("this run didn't learn from tracked faces: measure it without --faces")
    return part


def find_offset_of_faces(
    reader: VideoReader,
    network: Synchroniser,
    model: Path,
    reach: float = 0.4,
    resolution: float = 0.02,
    most: int = 250,
) -> tuple[Offset, Track]:
    """Measure the sound of a recording by its faces: the estimate of the surest one, and its track.

    Args:
        reader: of the recording.
        network: one that learnt from a part of tracked faces.
        model: the face detector.
        reach: see `avssl.sync.find_offset`.
        resolution: see there.
        most: see there.

    Raises:
        FileNotFoundError: if there is no model; says where it comes from.
        MediaError: if the recording can't be read, or has no sound.
        ValueError: if there is no face, none long enough, or the network learnt from something else.
    """
    part = learnt_part(network)
    found, why = list[tuple[Offset, Track]](), "no face was found"
    for track in find_tracks(reader.info, model):
        try:
            shown = TrackReader(reader, track, part)
            found.append((find_offset(shown, network, reach, resolution, most, WHOLE), track))
        except ValueError as error:
            why = str(error)
    if not found:
        raise ValueError(f"{reader.info.path}: {why}")
    return max(found, key=lambda one: one[0].confidence)


def cut_part(info: VideoInfo, model: Path, part: Part, target: Path, side: int = SIDE) -> Track | None:
    """Find the largest face of a recording and write its mouth or face (`write_part`); None if there is no face.

    Raises:
        FileNotFoundError: if there is no model; says where it comes from.
        MediaError: if the recording can't be decoded.
    """
    tracks = find_tracks(info, model)
    if not tracks:
        return None
    track = largest(tracks)
    write_part(info, track, part, target, side)
    return track
