"""Detecting faces in a recording, by YuNet through OpenCV; the tracks are linked by `avssl.avsync.tracks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from avssl.avsync.tracks import Track, crops, link
from avssl.media import VideoInfo, open_video
from avssl.runtime.files import digest_of

AT_ONCE = 64  # frames
SCORE, SUPPRESSION = 0.7, 0.3  # least score of a face; overlap from which the weaker of two detections is dropped
WHERE = (
    "YuNet (320 kB, Apache-2.0) is face_detection_yunet_*.onnx of OpenCV's model zoo, or yunet_n_*.onnx of "
    "libfacedetection.train: fetch one and give its path, --faces.model=PATH"
)


class Detector:
    """YuNet, which finds faces of about 10 pixels and more.

    Args:
        model: the ONNX file.

    Raises:
        FileNotFoundError: if there is no such file; says where it comes from.
        ValueError: if OpenCV can't use it.
    """

    def __init__(self, model: Path) -> None:
        if not model.is_file():
            raise FileNotFoundError(f"{model}: no such file. {WHERE}")
        logging, before = cv2.utils.logging, cv2.utils.logging.getLogLevel()
        try:
            logging.setLogLevel(logging.LOG_LEVEL_ERROR)  # or it warns that it chooses where to run
            self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), SCORE, SUPPRESSION)
        except cv2.error as error:
            raise ValueError(f"{model}: OpenCV can't use this as a face detector ({error.err}). {WHERE}") from error
        finally:
            logging.setLogLevel(before)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return the faces in ``[H, W, 3]`` uint8 RGB: ``[N, 15]`` box, five points (x, y) and score."""
        self._network.setInputSize(frame.shape[1::-1])
        found = self._network.detect(np.ascontiguousarray(frame[..., ::-1]))[1]
        return np.zeros((0, 15), np.float32) if found is None else found


def version(model: Path) -> str:
    """Return what detections depend on: the model's hash, and OpenCV's version.

    Raises:
        FileNotFoundError: if there is no such file; says where it comes from.
    """
    if not model.is_file():
        raise FileNotFoundError(f"{model}: no such file. {WHERE}")
    return f"{digest_of(model)} {cv2.__version__} {SCORE} {SUPPRESSION}"


def find_tracks(
    info: VideoInfo, model: Path, cuts: Sequence[int] = (0,), gap: int = 10, shortest: int = 10
) -> list[Track]:
    """Find and track the faces in a recording of constant frame rate, see `link`.

    Raises:
        FileNotFoundError: if there is no model; says where it comes from.
        MediaError: if the recording can't be decoded.
    """
    detector = Detector(model)
    found = [detector(frame) for frames in _frames(info, 0, info.num_frames) for frame in frames.numpy()]
    return link(found, cuts, gap, shortest)


def cut_out(
    info: VideoInfo,
    track: Track,
    part: Literal["face", "mouth", "person"] = "face",
    size: int = 112,
    margin: float = 0.2,
    smooth: float = 2.0,
) -> Tensor:
    """Return ``[T, 3, size, size]`` uint8: the face, mouth or person of a track; black beyond the picture.

    Args:
        info: the recording.
        track: a face in it.
        part: see `crops`.
        size: height and width of the result.
        margin: see `crops`.
        smooth: see `crops`.
    """
    squares, parts = crops(track, part, margin, smooth), []
    number = 0
    for frames in _frames(info, track.start, track.stop):
        for frame in frames.numpy():
            x, y, side = squares[number]
            scale, number = size / side, number + 1
            place = np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            parts.append(cv2.warpAffine(frame, place, (size, size), flags=how))
    return torch.from_numpy(np.stack(parts)).movedim(3, 1)


def _frames(info: VideoInfo, start: int, stop: int) -> Iterator[Tensor]:
    """Yield ``[T, H, W, 3]`` uint8 of consecutive frames, some at a time."""
    with open_video(info.path, "pyav", info) as reader:
        for first in range(start, stop, AT_ONCE):
            numbers = torch.arange(first, min(first + AT_ONCE, stop), dtype=torch.float64)
            yield reader.frames(numbers / info.fps).movedim(1, 3).contiguous()
