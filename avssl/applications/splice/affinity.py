"""From a picture to scores of its patches: which of them do not go with the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import MeanShift, estimate_bandwidth
from torch import Tensor

from avssl.methods import CameraConsistency
from avssl.pixels import LUMA, normalise
from avssl.training.module import statistics

Array = NDArray[np.float64]
Merge = Literal["mean_shift", "cut"]
ROWS = 64  # patches that are compared with all others at once
NEIGHBOURS = 0.3  # share of the patches within a bandwidth
ITERATIONS, SEEDS = 100, 100  # of mean shift, at most


@dataclass(frozen=True)
class Grid:
    """Where the patches of a picture are.

    Attributes:
        size: height and width of the patches in pixels.
        tops: ``[h]`` pixels from the top.
        lefts: ``[w]`` pixels from the left.
        shape: height and width of the picture.
    """

    size: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    shape: tuple[int, int]

    @classmethod
    def over(cls, shape: tuple[int, int], size: int, stride: int | None = None, most: int = 400) -> Grid:
        """Cover a picture with patches at even distances, up to its edges.

        Args:
            shape: height and width of the picture.
            size: of the patches.
            stride: distance in pixels; None takes a third of the patches' size, or more, so that there are ``most``.
            most: patches, at most.

        Raises:
            ValueError: if the picture is smaller than two patches side by side would allow, or the stride is below 1.
        """
        height, width = shape
        if min(shape) < size or height * width == size * size:
            raise ValueError(
                f"a picture of {height} x {width} pixels has no room for several patches of {size}: enlarging it would "
                "change its traces; take a larger one, or a run with smaller patches"
            )
        if stride is not None and stride < 1:
            raise ValueError(f"stride is {stride}: expected a distance of at least one pixel")
        step = stride or max(1, size // 3)
        while True:
            counts = [1 + -(-(side - size) // step) for side in shape]
            if counts[0] * counts[1] <= most or stride is not None:
                break
            step += max(1, step // 8)
        tops, lefts = (
            tuple(np.linspace(0, side - size, count).round().astype(int).tolist())
            for side, count in zip(shape, counts, strict=True)
        )
        return cls(size, tops, lefts, (height, width))

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def cut(self, picture: Tensor) -> Tensor:
        """Cut all patches of ``[3, H, W]``, row by row: ``[P, 3, size, size]``."""
        return torch.stack(
            [picture[:, top : top + self.size, left : left + self.size] for top in self.tops for left in self.lefts]
        )

    def spread(self, scores: Array) -> Array:
        """Return for each pixel ``[H, W]`` the mean of the ``[P]`` scores of the patches that it is in.

        The nearer it is to the middle of a patch, the more that patch counts.
        """
        total, count = np.zeros(self.shape), np.zeros(self.shape)
        hat = 1.02 - np.abs(np.linspace(-1, 1, self.size))  # what is at a patch's rim is in the middle of another
        window = np.outer(hat, hat)
        places = [(top, left) for top in self.tops for left in self.lefts]
        for (top, left), score in zip(places, scores, strict=True):
            total[top : top + self.size, left : left + self.size] += score * window
            count[top : top + self.size, left : left + self.size] += window
        return total / count


@torch.no_grad()
def affinities(method: CameraConsistency, picture: Tensor, grid: Grid) -> Array:
    """Return how probably each two patches of a picture are of the same camera.

    Args:
        method: in eval mode.
        picture: ``[3, H, W]`` uint8.
        grid: where the patches are.

    Returns:
        ``[A + 1, P, P]`` in (0, 1), symmetric: the same value of each attribute, and of all of them.
    """
    device = next(method.parameters()).device
    mean, std = (torch.tensor(values, device=device) for values in statistics(method.encoder))
    patches = grid.cut(picture.to(device))
    vectors = torch.cat([method.embed(normalise(part, mean, std)) for part in patches.split(128)])
    rows = [method.answers(part, vectors).sigmoid() for part in vectors.split(ROWS)]
    return torch.cat(rows).permute(2, 0, 1).double().cpu().numpy()


class Merged(NamedTuple):
    """Which patches go together, and how little each of P patches goes with them.

    Attributes:
        scores: ``[P]`` from 0 to 1.
        members: ``[P]`` bool, the larger part.
    """

    scores: Array
    members: NDArray[np.bool_]


def merged(affinity: Array, merge: Merge = "mean_shift") -> Merged:
    """Merge the affinities ``[P, P]`` of patches.

    ``mean_shift`` takes the mode of most of the rows (Huh et al., section 3.5; Comaniciu & Meer, PAMI 2002), and one
    minus its affinities; at most `SEEDS` rows are shifted. ``cut`` divides patches by the normalised cut (Shi & Malik,
    PAMI 2000), and takes one minus the mean affinity with the larger part.

    Raises:
        ValueError: if the merge is unknown.
    """
    if merge not in get_args(Merge):
        raise ValueError(f"merge is {merge!r}: expected one of {', '.join(get_args(Merge))}")
    if merge == "cut":
        part = cut(affinity)
        larger = part if part.mean() >= 0.5 else ~part
        return Merged(1 - affinity[:, larger].mean(1), larger)
    bandwidth = estimate_bandwidth(affinity, quantile=NEIGHBOURS)
    if bandwidth < 1e-6:  # all rows are the same
        return Merged(1 - affinity.mean(0), np.ones(len(affinity), bool))
    seeds = affinity[np.unique(np.linspace(0, len(affinity) - 1, SEEDS).round().astype(int))]
    shift = MeanShift(bandwidth=bandwidth, seeds=seeds, max_iter=ITERATIONS).fit(affinity)
    mode = np.bincount(shift.labels_).argmax()
    return Merged(1 - shift.cluster_centers_[mode], shift.labels_ == mode)


def cut(affinity: Array) -> NDArray[np.bool_]:
    """Divide P patches into two by the normalised cut of their affinities ``[P, P]``: one of the parts, ``[P]``.

    The second smallest eigenvector of the normalised Laplacian is cut where the normalised cut is least.
    """
    degrees = affinity.sum(1)
    scale = 1 / np.sqrt(degrees)
    vectors = np.linalg.eigh(np.eye(len(affinity)) - scale[:, None] * affinity * scale)[1]
    order = np.argsort(scale * vectors[:, 1], kind="stable")
    sums = affinity[np.ix_(order, order)].cumsum(0).cumsum(1)
    whole = np.diagonal(sums)[:-1]  # within the first k patches
    first = degrees[order].cumsum()[:-1]
    across = first - whole
    best = int(np.argmin(across / first + across / (degrees.sum() - first)))
    part = np.zeros(len(affinity), bool)
    part[order[: best + 1]] = True
    return part


def inconsistency(affinity: Array) -> float:
    """Score a whole picture by the affinities ``[P, P]`` of its patches: the mean of one minus them."""
    return float(1 - affinity.mean())


def laplacian_energy(patches: Tensor) -> Array:
    """Return the logarithm of the energy of the Laplacian of patches ``[P, 3, h, w]`` in [0, 1]: ``[P]``, by hand."""
    light = torch.einsum("c,pchw->phw", torch.tensor(LUMA), patches.float())
    around = light[:, :-2, 1:-1] + light[:, 2:, 1:-1] + light[:, 1:-1, :-2] + light[:, 1:-1, 2:]
    energy = (4 * light[:, 1:-1, 1:-1] - around).square().mean((1, 2))
    return (energy + 1e-8).log().double().numpy()


def colours(patches: Tensor) -> Array:
    """Return the logarithms of red to green and blue to green of patches ``[P, 3, h, w]`` in [0, 1]: ``[P, 2]``.

    They are white balance by hand.
    """
    mean = (patches.float().mean((2, 3)) + 1e-2).log()  # [P, 3]
    return (mean[:, ::2] - mean[:, 1:2]).double().numpy()


def apart(features: Array) -> Array:
    """Return the distance of each patch's ``[P]`` or ``[P, D]`` features from their median, ``[P]``."""
    table = features.reshape(len(features), -1)
    return np.linalg.norm(table - np.median(table, 0), axis=1)
