"""Measures of collapse, which need no labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ROWS = 2048  # above which measures that compare all pairs, or all directions, are taken on a sample


def feature_std(features: Tensor) -> Tensor:
    """Return the standard deviation of L2-normalised features ``[N, D]``, N >= 2, averaged over channels.

    0 if all are equal, about ``1 / sqrt(D)`` if they are evenly spread (Chen & He, CVPR 2021, section 4.1).
    """
    return functional.normalize(_checked(features), dim=1).std(dim=0, unbiased=False).mean()


def rankme(features: Tensor) -> Tensor:
    """Return the effective rank of features ``[N, D]``, N >= 2: from 1 (all on one line) to ``min(N, D)``.

    It is the exponential of the entropy of the singular values (Garrido et al., ICML 2023, equation 2).
    """
    values = torch.linalg.svdvals(_checked(features))
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared distance on the unit sphere of two views of the same items, ``[N, D]`` each.

    From 0 (the views coincide) to 4 (Wang & Isola, ICML 2020, equation 1).
    """
    first, second = (functional.normalize(_checked(views), dim=1) for views in (first, second))
    return (first - second).square().sum(dim=1).mean()


def uniformity(features: Tensor, rows: int = ROWS) -> Tensor:
    """Return the log of the mean Gaussian potential between pairs of ``[N, D]``, N >= 2, on the unit sphere, t = 2.

    From 0 (all coincide) down to about -4 (evenly spread) (Wang & Isola, ICML 2020, equation 2). Of more than ``rows``
    features, the pairs are those of a `sample`.
    """
    points = functional.normalize(_checked(features), dim=1)
    if len(points) > rows:
        points = points[sample(len(points), rows).to(points.device)]
    return torch.pdist(points).square().mul(-2).exp().mean().log()


def sample(count: int, most: int, seed: int = 0) -> Tensor:
    """Return, in order, ``most`` of ``count`` places chosen by the seed; all if there are no more."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def monitors(features: Tensor) -> dict[str, float]:
    """Compute all measures on features ``[V, N, D]`` of N clips of each of V >= 2 videos; logged while pretraining.

    Returns:
        ``feature_std`` (relative to ``1 / sqrt(D)``, so that 1 is evenly spread), ``rankme`` and ``uniformity`` of
        the first clips, and with several clips per video ``alignment`` of the first two.
    """
    first = features[:, 0]
    found = {
        "feature_std": feature_std(first) * first.shape[1] ** 0.5,
        "rankme": rankme(first),
        "uniformity": uniformity(first),
    }
    if features.shape[1] > 1:
        found["alignment"] = alignment(first, features[:, 1])
    return {name: value.item() for name, value in found.items()}


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2 or features.shape[0] < 2:
        raise ValueError(f"expected features [N, D] of at least two items, got {list(features.shape)}")
    return features.detach().float()
