"""Moving objects: regions whose motion the camera does not explain."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from avssl.labels.camera import homography, homography_flow
from avssl.labels.flow import Array, dis_flow, grey, one_thread
from avssl.media import VideoInfo

IGNORED = -1  # in a map of labels


@dataclass(frozen=True)
class MotionSegmentation:
    """Moving objects in the middle frame of each clip, unsupervised (in place of uNLC, Pathak et al., CVPR 2017).

    Flow runs from the middle frame to each other frame. The homography that most of it agrees with is the camera's;
    the rest, per second, is a speed. The (lower) median speed over the other frames is thresholded by Otsu's method,
    but never below ``least``. As in the paper the result is a trimap: pixels near the threshold, or leaving the image,
    are neither object nor background. uNLC's voting among similar superpixels of the whole video is replaced by a
    median filter and a minimum region size.

    Args:
        least: lowest speed of a moving object, in image widths per second.
        band: speeds within this factor of the threshold, either way, are neither object nor background.
        smallest: share of the image's area below which regions are dropped.
    """

    least: float = 0.04
    band: float = 1.3
    smallest: float = 0.002

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to ``[N, H, W]`` int8: 1 object, 0 background, -1 neither.

        Raises:
            ValueError: if clips have fewer than two frames.
        """
        if frames.shape[1] < 2:
            raise ValueError("MotionSegmentation: needs clips of at least 2 frames, got 1; set sampler.num_frames")
        pairs = zip(grey(frames), times.tolist(), strict=True)
        return torch.from_numpy(np.stack([self._trimap(clip, seconds) for clip, seconds in pairs]))

    def _trimap(self, clip: np.ndarray, seconds: list[float]) -> np.ndarray:
        speeds = np.sort(_speeds(clip, seconds), axis=0)  # [T - 1, H, W], NaN last
        middle = (np.isfinite(speeds).sum(0, keepdims=True) - 1).clip(min=0) // 2
        speed = np.take_along_axis(speeds, middle, axis=0)[0]  # [H, W], NaN where unknown
        known = np.isfinite(speed)
        speed = np.where(known, speed, 0).astype(np.float32)
        scale = 255 / max(float(np.percentile(speed, 99)), self.least)
        with one_thread():
            smooth = cv2.medianBlur(speed, 3)
            cut, _ = cv2.threshold((smooth * scale).clip(0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
            threshold = max(float(cut) / scale, self.least)
            moves = _without_small(smooth > threshold, self.smallest)
        near = (smooth > threshold / self.band) & (smooth < threshold * self.band)
        return np.where(known & ~near & (moves | (smooth < threshold)), moves, IGNORED).astype(np.int8)


def _speeds(clip: np.ndarray, seconds: list[float]) -> Array:
    """Return speeds relative to the camera ``[T - 1, H, W]``, in widths per second; NaN for pixels that leave."""
    count, height, width = clip.shape
    middle = count // 2
    rows, columns = np.indices((height, width))
    speeds = []
    for other in range(count):
        apart = abs(seconds[other] - seconds[middle])
        if other == middle or apart == 0:
            continue
        flow = dis_flow(clip[middle], clip[other])
        camera = homography(flow)
        rest = flow if camera is None else flow - homography_flow(camera, (height, width))
        x, y = columns + flow[0], rows + flow[1]
        stays = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        speeds.append(np.where(stays, np.hypot(*rest) / (width * apart), np.nan))
    return np.stack(speeds) if speeds else np.full((1, height, width), np.nan)


def _without_small(mask: np.ndarray, smallest: float) -> np.ndarray:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest * mask.size
    large[0] = False  # the background
    return large[parts]
