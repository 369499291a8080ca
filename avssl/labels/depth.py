"""Relative depth from the flow of a moving camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avssl.labels.camera import fit_camera
from avssl.labels.flow import Array, dis_flow, grey
from avssl.media import VideoInfo


@dataclass(frozen=True)
class RelativeDepth:
    """Depth rank of each pixel of the middle frame, from nearest (0) to farthest (1).

    Jiang et al., ECCV 2018, section 3: the flow due to the camera's translation, relative to its length at unit depth,
    is the inverse depth up to a factor; percentiles make frames comparable whatever the factor. Rotation and
    translation are fitted by `fit_camera` instead of the paper's motion segmentation, and flow that no depth explains
    (moving objects) is left out. Flow runs from the middle frame of a clip to the first and the last; the label is the
    mean rank. A camera that only rotates shows no depth: labels are unknown if the parallax is below ``parallax``.

    Args:
        focal: focal length in image widths.
        parallax: smallest motion of the nearest tenth against the farthest, in image widths, for a label to be made.
        residual: largest flow that no depth explains, in image widths.
    """

    focal: float = 1.0
    parallax: float = 0.004
    residual: float = 0.01

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to ranks ``[N, H, W]`` float32 in [0, 1]; NaN where unknown.

        Raises:
            ValueError: if clips have fewer than three frames.
        """
        if frames.shape[1] < 3:
            raise ValueError(f"RelativeDepth: needs clips of at least 3 frames, got {frames.shape[1]}")
        return torch.from_numpy(np.stack([self._ranks(clip) for clip in grey(frames)]))

    def _ranks(self, clip: np.ndarray) -> Array:
        middle = clip[len(clip) // 2]
        ranks = np.stack([self._one_way(dis_flow(middle, other)) for other in (clip[0], clip[-1])])  # [2, H, W]
        known = np.isfinite(ranks).any(0)
        mean = np.full(middle.shape, np.nan, np.float32)
        mean[known] = np.nanmean(ranks[:, known], axis=0)
        return percentile_ranks(mean)

    def _one_way(self, flow: Array) -> Array:
        """Map flow ``[2, H, W]`` to ranks ``[H, W]``; NaN where unknown."""
        width = flow.shape[2]
        fit = fit_camera(flow, self.focal)
        typical = float(np.median(fit.parallax))
        known = (fit.residual < self.residual * width) & (fit.parallax > 0.3 * typical)
        if known.mean() < 0.2:
            return np.full(flow.shape[1:], np.nan, np.float32)
        near, far = np.percentile(fit.closeness[known], [90, 10])
        if (near - far) * typical < self.parallax * width:
            return np.full(flow.shape[1:], np.nan, np.float32)
        return percentile_ranks(np.where(known, -fit.closeness, np.nan))


def percentile_ranks(values: Array) -> Array:
    """Map ``[H, W]`` to percentile ranks in [0, 1] among the known values; NaN stays NaN."""
    flat = values.ravel()
    known = np.flatnonzero(np.isfinite(flat))
    out = np.full(flat.shape, np.nan, np.float32)
    order = np.argsort(flat[known], kind="stable")
    out[known[order]] = np.linspace(0, 1, len(known), dtype=np.float32)
    return out.reshape(values.shape)


def ordinal_agreement(one: Tensor, other: Tensor, rng: torch.Generator | None = None, pairs: int = 2000) -> float:
    """Return the share of random pixel pairs that two depth maps ``[H, W]`` order alike; NaN is unknown."""
    both = torch.isfinite(one) & torch.isfinite(other)
    a, b = one[both], other[both]
    first, second = torch.randint(max(len(a), 1), (2, pairs), generator=rng)
    if len(a) < 2:
        return float("nan")
    differ = b[first] != b[second]
    return ((a[first] < a[second]) == (b[first] < b[second]))[differ].float().mean().item()
