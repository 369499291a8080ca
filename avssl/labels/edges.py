"""Motion edges and edge-aware flow, each of which improves the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.labels.flow import dis_flow, grey
from avssl.media import VideoInfo

SHIFTS = ((0, 1), (1, 0))  # rows and columns to the right and lower neighbours
STOP = 6.0  # decay of the coupling between neighbours with the edge between them
TRUST = 0.05  # weight of a confident measurement, relative to a neighbour without an edge in between


@dataclass(frozen=True)
class ConfidentFlow:
    """Flow from the middle frame of each clip to the last, with its confidence.

    Args:
        tolerance: forward-backward error at which the confidence is 1/2, in image widths.
    """

    tolerance: float = 0.006

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to ``[N, 3, H, W]`` float32.

        Channels are the flow to the right and down, in image widths per second, and the confidence, from 0 to 1.
        """
        middle, width = frames.shape[1] // 2, frames.shape[-1]
        found = []
        for first, last in grey(frames[:, [middle, -1]]):
            there, back = torch.from_numpy(np.stack([dis_flow(first, last), dis_flow(last, first)]))
            missed = (there + warp(back, there)).norm(dim=0)  # [H, W] pixels
            confidence = 1 / (1 + (missed / (self.tolerance * width)) ** 2)
            found.append(torch.cat([there / width, confidence[None]]))
        out = torch.stack(found)
        out[:, :2] /= (times[:, -1] - times[:, middle]).float().clamp(min=1e-6)[:, None, None, None]
        return out


@dataclass(frozen=True)
class MotionEdges:
    """Motion boundaries in the middle frame of each clip (after Li et al., CVPR 2016, section 3).

    The paper's scheme without its learnt edge detector: starting with image gradients as edges, flow is smoothed except
    across edges (instead of EpicFlow's interpolation); the new edges are the geometric mean of the jumps of the
    smoothed flow and the image's edges. More rounds help only if a detector is trained in between, as in
    `avssl.methods.EdgesFromMotion`.

    Args:
        rounds: rounds of flow and edges.
        jump: velocity difference between neighbouring pixels that is a full edge, in image widths per second.
        flow: computes the flow to be smoothed.
    """

    rounds: int = 1
    jump: float = 0.1
    flow: ConfidentFlow = ConfidentFlow()

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map frames ``[N, T, 3, H, W]`` uint8 to edges ``[N, H, W]`` float32 in [0, 1]."""
        measured = self.flow(frames, times, info)  # [N, 3, H, W]
        image = image_edges(torch.from_numpy(grey(frames[:, frames.shape[1] // 2])).float())
        edges = image
        for _ in range(self.rounds):
            edges = motion_edges(measured, edges, self.jump, image)
        return edges


def motion_edges(measured: Tensor, edges: Tensor, jump: float, image: Tensor) -> Tensor:
    """Compute the next edges ``[M, H, W]`` by one round of flow and edges.

    Args:
        measured: ``[M, 3, H, W]`` flow and confidence.
        edges: ``[M, H, W]`` across which flow is not smoothed.
        jump: velocity difference that is a full edge.
        image: ``[M, H, W]`` image edges, with which the result must agree.
    """
    return ((jumps(smooth_flow(measured, edges)) / jump).clamp(max=1) * image).sqrt()


def image_edges(light: Tensor) -> Tensor:
    """Return the local changes of brightness ``[M, H, W]``, scaled by `relative_edges`."""
    return relative_edges(jumps(light[:, None]))


def relative_edges(edges: Tensor) -> Tensor:
    """Divide edges ``[M, H, W]`` by three times their mean over the image, and clip at 1."""
    return (edges / (3 * edges.mean((1, 2), keepdim=True) + 1e-6)).clamp(max=1)


def jumps(maps: Tensor) -> Tensor:
    """Map ``[M, C, H, W]`` to each cell's largest distance from its right and lower neighbours, ``[M, H, W]``."""
    most = maps.new_zeros(maps[:, 0].shape)
    for rows, columns in SHIFTS:
        height, width = maps.shape[2] - rows, maps.shape[3] - columns
        apart = (maps[:, :, rows:, columns:] - maps[:, :, :height, :width]).norm(dim=1)
        most[:, :height, :width] = torch.maximum(most[:, :height, :width], apart)
    return most


def smooth_flow(measured: Tensor, edges: Tensor, steps: int = 40) -> Tensor:
    """Smooth flow except across edges, and stay close to confident measurements: ``[M, 2, H, W]``.

    Jacobi steps towards the minimum of ``TRUST * confidence * |flow - measured|^2 + exp(-STOP * edge) * |difference of
    neighbours|^2``.

    Args:
        measured: ``[M, 3, H, W]``: flow and confidence.
        edges: ``[M, H, W]`` in [0, 1]; an edge lies between a cell and its right and lower neighbours.
        steps: number of relaxation steps.
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


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Sample maps ``[C, H, W]`` at the end points of a flow ``[2, H, W]`` (pixels)."""
    height, width = maps.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (columns + flow[0]) * (2 / max(width - 1, 1)) - 1
    y = (rows + flow[1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], -1)[None]
    return F.grid_sample(maps[None], grid, padding_mode="border", align_corners=True)[0]


def boundary_f(edges: Tensor, truth: Tensor, tolerance: int = 1) -> Tensor:
    """Return the F-score of boundaries ``[..., H, W]`` bool (Martin et al., PAMI 2004, without one-to-one matching).

    It is the harmonic mean ``[...]`` of precision (edges near the truth) and recall (truth near an edge); 0 if one is
    empty. ``tolerance`` is in cells, along rows and columns.
    """

    def near(mask: Tensor) -> Tensor:
        side = 2 * tolerance + 1
        flat = mask.float().flatten(0, -3)[:, None] if mask.ndim > 2 else mask.float()[None, None]
        return (F.max_pool2d(flat, side, 1, tolerance) > 0).view(mask.shape)

    def found(of: Tensor, among: Tensor) -> Tensor:
        return (of & near(among)).sum((-2, -1)) / of.sum((-2, -1)).clamp(min=1)

    precision, recall = found(edges, truth), found(truth, edges)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-9)
