"""The mouth or face of a track as a recording of its own: to measure its sound by, and to learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from avssl.avsync.cropping import AT_ONCE, TrackReader
from avssl.avsync.faces import find_tracks
from avssl.avsync.framing import framing_for
from avssl.avsync.tracks import Track
from avssl.catalog.encode import X264, Movie, encodable, sound_frames, write_movie
from avssl.media import VideoInfo, VideoReader, open_video
from avssl.media.regions import WHOLE, Part, shown_of
from avssl.sync.network import Synchroniser
from avssl.sync.offset import Offset, find_offset

SIDE = 96  # pixels of a copy
FPS, RATE, GOP, CRF = Fraction(25), 16000, 12, "18"  # of a copy


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
        shown = TrackReader(reader, track, framing_for(part, side))
        length, late = shown.info.duration, track.start / info.fps
        pictures = encodable(_pictures(shown, math.ceil(length * FPS - 1e-6)), FPS)
        sound = sound_frames(info, length, RATE, late)
        write_movie(target, pictures, sound, Movie(FPS, (side, side), GOP, RATE), {**X264, "crf": CRF})


def _pictures(shown: TrackReader, count: int) -> Iterator[np.ndarray]:
    """Yield ``[S, S, 3]`` uint8, ``FPS`` per second."""
    nearest = 0.5 / shown.info.fps - 1e-4  # to the frame nearest in time: none is late on average
    times = (torch.arange(count, dtype=torch.float64) / float(FPS) + nearest).clamp(max=shown.info.duration - 1e-6)
    for some in times.split(AT_ONCE):
        yield from shown.frames(some).movedim(1, 3).contiguous().numpy()


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
) -> tuple[Offset, TrackReader]:
    """Measure the sound of a recording by its faces: the estimate of the surest one, and what shows it.

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
    found, why = list[tuple[Offset, TrackReader]](), "no face was found"
    for track in find_tracks(reader.info, model):
        try:
            shown = TrackReader(reader, track, framing_for(part, SIDE))
            found.append((find_offset(shown, network, reach, resolution, most, WHOLE), shown))
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
