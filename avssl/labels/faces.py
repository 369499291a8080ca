"""Codes and poses of synthetic faces, as they are written beside the videos."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.labels.recorded import shown_frames
from avssl.media import VideoInfo
from avssl.synthetic import DOMAINS, TRUTH
from avssl.synthetic.face_mesh import EXPRESSION, IDENTITY, POSE

CODE = len(IDENTITY) + len(EXPRESSION)
NUMBERS = CODE + len(POSE)  # of a face: its code, then its pose


@dataclass(frozen=True)
class FaceCodes:
    """The code and the pose of the face in each frame, for the videos of some domains of the face world.

    Videos of other domains, and others that have no table beside them, are without labels. The numbers do not follow a
    crop or a flip: use this with a transform that does neither (`Squash`).

    Args:
        domains: those whose videos have labels; see `avssl.synthetic.DOMAINS`.

    Raises:
        ValueError: if there is no such domain.
    """

    domains: tuple[str, ...] = ("studio",)

    def __post_init__(self) -> None:
        if unknown := set(self.domains) - set(DOMAINS):
            raise ValueError(f"FaceCodes.domains: expected some of {', '.join(DOMAINS)}, got {', '.join(unknown)}")

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Return ``[N, T, 20]`` float32, code and pose, for clips ``[N, T, 3, H, W]``, whose pixels are not used.

        It is NaN where there is no label.
        """
        path = Path(info.path)
        table = path.with_suffix(TRUTH)
        if path.parent.name not in self.domains or not table.exists():
            return torch.full((*times.shape, NUMBERS), torch.nan)
        rows = read_faces(table)
        shown = shown_frames(times.numpy(), info).clip(0, len(rows) - 1)
        return torch.from_numpy(rows[shown].astype(np.float32))


def read_faces(table: Path) -> NDArray[np.float64]:
    """Read the codes and poses ``[frames, 20]`` of a video from the table beside it.

    Raises:
        ValueError: if it is not such a table.
    """
    return _read(table, table.stat().st_mtime_ns)


@lru_cache(maxsize=1024)
def _read(table: Path, changed: int) -> NDArray[np.float64]:
    rows = np.genfromtxt(table, delimiter=",", skip_header=1, ndmin=2)
    if rows.shape[1] != 1 + NUMBERS or not np.isfinite(rows).all():
        raise ValueError(f"{table}: expected rows of {1 + NUMBERS} numbers, the time, code and pose of a face")
    return np.asarray(rows[:, 1:])
