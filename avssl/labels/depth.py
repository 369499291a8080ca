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
    """How far each pixel of the middle frame is, from nearest (0) to farthest (1), as a rank within the picture.

    Jiang et al., ECCV 2018, section 3: of the flow only what the camera's translation makes is kept; its length over
    what it would be at unit depth is the inverse depth up to a factor, and percentiles make pictures comparable
    whatever the factor. Turn and translation are fitted by `fit_camera`, in the place of the paper's motion
    segmentation; flow that no depth explains, as of things that move by themselves, is left out. Flow runs from the
    middle frame of a clip to its first and its last one; the mean rank is taken. A camera that only turns shows no
    depth: nothing is known where its parallax stays below ``parallax``.

    Args:
        focal: focal length in picture widths.
        parallax: picture widths by which the nearest tenth must move against the farthest, for a label to be made.
        residual: largest flow that no depth explains, in picture widths.
    """

    focal: float = 1.0
    parallax: float = 0.004
    residual: float = 0.01

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to ``[N, H, W]`` float32 ranks in [0, 1]; NaN where the depth is not known.

        Raises:
            ValueError: where a clip has fewer than three frames.
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
        return ranked(mean)

    def _one_way(self, flow: Array) -> Array:
        """``[2, H, W]`` flow to ``[H, W]`` ranks, NaN where nothing is known."""
        width = flow.shape[2]
        fit = fit_camera(flow, self.focal)
        typical = float(np.median(fit.parallax))
        known = (fit.residual < self.residual * width) & (fit.parallax > 0.3 * typical)
        if known.mean() < 0.2:
            return np.full(flow.shape[1:], np.nan, np.float32)
        near, far = np.percentile(fit.closeness[known], [90, 10])
        if (near - far) * typical < self.parallax * width:
            return np.full(flow.shape[1:], np.nan, np.float32)
        return ranked(np.where(known, -fit.closeness, np.nan))


def ranked(values: Array) -> Array:
    """Percentiles: ``[H, W]`` to the share of known values that are smaller, in [0, 1]; NaN stays NaN."""
    flat = values.ravel()
    known = np.flatnonzero(np.isfinite(flat))
    out = np.full(flat.shape, np.nan, np.float32)
    order = np.argsort(flat[known], kind="stable")
    out[known[order]] = np.linspace(0, 1, len(known), dtype=np.float32)
    return out.reshape(values.shape)


def ordinal_agreement(one: Tensor, other: Tensor, rng: torch.Generator | None = None, pairs: int = 2000) -> float:
    """The share of random pairs of pixels that two depth maps ``[H, W]`` put in the same order; NaN is not known."""
    both = torch.isfinite(one) & torch.isfinite(other)
    a, b = one[both], other[both]
    first, second = torch.randint(max(len(a), 1), (2, pairs), generator=rng)
    if len(a) < 2:
        return float("nan")
    differ = b[first] != b[second]
    return ((a[first] < a[second]) == (b[first] < b[second]))[differ].float().mean().item()
