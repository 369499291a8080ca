"""Motion, loudness, keyframes and shots of a normalised recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from avssl.avsync.options import Shots
from avssl.media import VideoInfo, open_video
from avssl.media.pyav import PyAVReader

LOUDNESS_RATE = 200  # per second
_SIDE = 64  # pixels, height and width of the frames in which shots are found
_SOUND_AT_ONCE = 600  # seconds


@dataclass(frozen=True)
class Observed:
    """Measurements on a normalised recording.

    ``motion`` is the mean absolute grey difference of each frame to the previous one, 0 to 1; 0 for the first. It is
    measured before the frames are encoded.
    """

    motion: np.ndarray  # [T]
    loudness: np.ndarray  # [L] largest absolute sample in each 200th of a second from the first frame on, 0 to 1
    keyframes: np.ndarray  # [K] numbers of the frames that decode on their own
    cuts: np.ndarray  # [C] numbers of the frames that begin a shot; the first is 0
    sound: tuple[float, float]  # seconds at which sound starts and stops
    liveliest: np.ndarray  # [T] ``motion`` in that of 64 blocks in which it is largest
    late: np.ndarray  # [T] seconds by which each frame is shown later than in the source

    def save(self, path: Path) -> None:
        """Write the measurements to a file."""
        with open(path, "wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def load(cls, path: Path) -> Observed:
        """Read a file that :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as fields:
            start, stop = fields["sound"].tolist()
            arrays = {name: fields[name] for name in cls.__dataclass_fields__ if name != "sound"}
        return cls(**arrays, sound=(start, stop))


def observe(info: VideoInfo, series: Mapping[str, np.ndarray], options: Shots) -> Observed:
    """Decode a normalised recording once, at low resolution, and read its sound.

    Its ``series`` "motion", "liveliest" and "late" are known.
    """
    detector = None
    if options.threshold:
        from scenedetect import ContentDetector, FrameTimecode

        wait = max(1, round(options.min_seconds * info.fps))
        detector = ContentDetector(options.threshold, min_scene_len=wait)
    scaler = VideoReformatter()
    keyframes, cuts = [], [0]
    with PyAVReader(info) as reader:
        for number, (_, frame) in enumerate(reader.sequence()):
            if frame.key_frame:
                keyframes.append(number)
            if detector is not None:
                small = scaler.reformat(frame, _SIDE, _SIDE, "bgr24", interpolation=Interpolation.AREA, threads=1)
                found = detector.process_frame(FrameTimecode(number, info.fps), small.to_ndarray())
                cuts += [cut.frame_num for cut in found]
    loudness, sound = _loudness(info)
    marks = {"keyframes": np.array(keyframes), "cuts": np.unique(np.array(cuts, np.int64))}
    return Observed(loudness=loudness, sound=sound, **marks, **series)


def detector_version(options: Shots) -> str | None:
    """Return the version of PySceneDetect if it finds the shots, on which cuts depend."""
    if not options.threshold:
        return None
    import scenedetect

    return scenedetect.__version__


def _loudness(info: VideoInfo) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the loudness, and the seconds at which sound begins and ends."""
    if info.audio is None:
        return np.zeros(0, np.float32), (0.0, 0.0)
    rate, step = info.audio.rate, info.audio.rate / LOUDNESS_RATE
    parts, bounds = [], list[float]()
    with open_video(info.path, "pyav", replace(info, motion=None)) as reader:
        for start in range(0, max(1, int(np.ceil(info.duration))), _SOUND_AT_ONCE):
            stop = min(start + _SOUND_AT_ONCE, info.duration)
            samples, valid = reader.audio(start, stop, rate)
            if valid[0] < valid[1]:
                bounds += valid
            count = int(np.ceil(len(samples) / step))
            edges = np.floor(np.arange(count) * step + 1e-6).astype(np.int64)
            parts.append(np.maximum.reduceat(np.abs(samples.numpy()), edges))
    return np.concatenate(parts), (min(bounds), max(bounds)) if bounds else (0.0, 0.0)
