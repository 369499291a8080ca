"""Motion edges, and flow that respects edges: each improves the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.labels.flow import dis_flow, grey
from avssl.media import VideoInfo

SHIFTS = ((0, 1), (1, 0))  # rows and columns to the neighbour on the right and the one below
STOP = 6.0  # how fast the exchange between neighbours falls with an edge between them
TRUST = 0.05  # pull of a confident measurement, against 1 of a neighbour without an edge in between


@dataclass(frozen=True)
class ConfidentFlow:
    """Flow from the middle frame of each clip to the last one, and how far to believe it.

    Args:
        tolerance: picture widths by which flow there and back may miss its start before it is half believed.
    """

    tolerance: float = 0.006

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to ``[N, 3, H, W]`` float32.

        The first two channels are the flow to the right and down, in picture widths a second; the third is the
        confidence, from 0 to 1.
        """
        middle, width = frames.shape[1] // 2, frames.shape[-1]
        found = []
        for first, last in grey(frames[:, [middle, -1]]):
            there, back = torch.from_numpy(np.stack([dis_flow(first, last), dis_flow(last, first)]))
            missed = (there + carried(back, there)).norm(dim=0)  # [H, W] pixels
            confidence = 1 / (1 + (missed / (self.tolerance * width)) ** 2)
            found.append(torch.cat([there / width, confidence[None]]))
        out = torch.stack(found)
        out[:, :2] /= (times[:, -1] - times[:, middle]).float().clamp(min=1e-6)[:, None, None, None]
        return out


@dataclass(frozen=True)
class MotionEdges:
    """Where motion changes abruptly in the middle frame of each clip (after Li et al., CVPR 2016, section 3).

    The paper's scheme, without its learnt edge detector: from image gradients as the first edges, flow is smoothed
    everywhere but across edges (in the place of EpicFlow's interpolation); the jumps of the smoothed flow, times the
    image's edges, with which they must agree, are the next edges (their geometric mean). More rounds pay where a
    detector learns in between, as in `avssl.methods.EdgesFromMotion`, not here.

    Args:
        rounds: of flow and edges.
        jump: difference of velocity between neighbouring pixels, in picture widths a second, that is a full edge.
        flow: makes the flow that is smoothed.
    """

    rounds: int = 1
    jump: float = 0.1
    flow: ConfidentFlow = ConfidentFlow()

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames to ``[N, H, W]`` float32 edges in [0, 1]."""
        measured = self.flow(frames, times, info)  # [N, 3, H, W]
        image = image_edges(torch.from_numpy(grey(frames[:, frames.shape[1] // 2])).float())
        edges = image
        for _ in range(self.rounds):
            edges = motion_edges(measured, edges, self.jump, image)
        return edges


def motion_edges(measured: Tensor, edges: Tensor, jump: float, image: Tensor) -> Tensor:
    """One round of flow and edges.

    Args:
        measured: ``[M, 3, H, W]`` flow and confidence.
        edges: ``[M, H, W]`` across which flow is not smoothed.
        jump: difference of velocity that is a full edge.
        image: ``[M, H, W]`` edges of the picture, with which the next ones must agree.

    Returns:
        ``[M, H, W]`` the next edges.
    """
    return ((jumps(smoothed(measured, edges)) / jump).clamp(max=1) * image).sqrt()


def image_edges(light: Tensor) -> Tensor:
    """How abruptly brightness ``[M, H, W]`` changes, in three times its mean change: ``[M, H, W]`` in [0, 1]."""
    return relative(jumps(light[:, None]))


def relative(edges: Tensor) -> Tensor:
    """Edges ``[M, H, W]`` in three times their mean over the picture, at most 1: some are strong in every picture."""
    return (edges / (3 * edges.mean((1, 2), keepdim=True) + 1e-6)).clamp(max=1)


def jumps(maps: Tensor) -> Tensor:
    """The largest distance of a cell from its neighbours to the right and below: ``[M, C, H, W]`` to ``[M, H, W]``."""
    most = maps.new_zeros(maps[:, 0].shape)
    for rows, columns in SHIFTS:
        height, width = maps.shape[2] - rows, maps.shape[3] - columns
        apart = (maps[:, :, rows:, columns:] - maps[:, :, :height, :width]).norm(dim=1)
        most[:, :height, :width] = torch.maximum(most[:, :height, :width], apart)
    return most


def smoothed(measured: Tensor, edges: Tensor, steps: int = 40) -> Tensor:
    """Flow that follows its neighbours where no edge lies between, and the measurement as far as that is trusted.

    Jacobi steps towards the minimum of ``TRUST * confidence * |flow - measured|^2 + exp(-STOP * edge) * |difference of
    neighbours|^2``.

    Args:
        measured: ``[M, 3, H, W]``: flow and confidence.
        edges: ``[M, H, W]`` in [0, 1]; an edge lies between a cell and its neighbours to the right and below.
        steps: of relaxation.

    Returns:
        ``[M, 2, H, W]``.
    """
    flow, pull = measured[:, :2], TRUST * measured[:, 2:] + 1e-4
    link = (-STOP * edges).exp()[:, None]  # [M, 1, H, W]
    right, below = link[..., :-1], link[..., :-1, :]
    weight = (
        pull + F.pad(right, (0, 1)) + F.pad(right, (1, 0)) + F.pad(below, (0, 0, 0, 1)) + F.pad(below, (0, 0, 1, 0))
    )
    result = flow
    for _ in range(steps):
        into = pull * flow
        into = into + F.pad(right * result[..., 1:], (0, 1)) + F.pad(right * result[..., :-1], (1, 0))
        into = into + F.pad(below * result[..., 1:, :], (0, 0, 0, 1)) + F.pad(below * result[..., :-1, :], (0, 0, 1, 0))
        result = into / weight
    return result


def carried(maps: Tensor, flow: Tensor) -> Tensor:
    """``[C, H, W]`` maps read where a flow ``[2, H, W]`` (pixels) leads."""
    height, width = maps.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (columns + flow[0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], -1)[None]
    return F.grid_sample(maps[None], grid, padding_mode="border", align_corners=True)[0]


def boundary_f(edges: Tensor, truth: Tensor, tolerance: int = 1) -> Tensor:
    """F-score of boundaries that may be off by a few cells (Martin et al., PAMI 2004, without one-to-one matching).

    Args:
        edges: ``[..., H, W]`` bool.
        truth: ``[..., H, W]`` bool.
        tolerance: cells, in rows and in columns.

    Returns:
        ``[...]``: harmonic mean of the share of edges near the truth and of truth near an edge; 0 where one is empty.
    """

    def near(mask: Tensor) -> Tensor:
        side = 2 * tolerance + 1
        flat = mask.float().flatten(0, -3)[:, None] if mask.ndim > 2 else mask.float()[None, None]
        return (F.max_pool2d(flat, side, 1, tolerance) > 0).view(mask.shape)

    def found(of: Tensor, among: Tensor) -> Tensor:
        return (of & near(among)).sum((-2, -1)) / of.sum((-2, -1)).clamp(min=1)

    precision, recall = found(edges, truth), found(truth, edges)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-9)
