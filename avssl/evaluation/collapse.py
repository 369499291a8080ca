"""Measures of collapse, which need no labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def feature_std(features: Tensor) -> Tensor:
    """Standard deviation of L2-normalised features, mean over channels (Chen & He, CVPR 2021, section 4.1).

    Args:
        features: ``[N, D]``, N >= 2.

    Returns:
        Scalar: 0 if all features are equal, about ``1 / sqrt(D)`` if they are evenly spread.
    """
    return functional.normalize(_checked(features), dim=1).std(dim=0, unbiased=False).mean()


def rankme(features: Tensor) -> Tensor:
    """Effective rank: exponential of the entropy of the singular values (Garrido et al., ICML 2023, equation 2).

    Args:
        features: ``[N, D]``, N >= 2.

    Returns:
        Scalar from 1 (all on one line) to ``min(N, D)``.
    """
    values = torch.linalg.svdvals(_checked(features))
    share = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance between two views of the same item on the unit sphere (Wang & Isola, ICML 2020, eq. 1).

    Args:
        first: ``[N, D]``.
        second: ``[N, D]``, row i another view of the same item as row i of ``first``.

    Returns:
        Scalar from 0 (the views coincide) to 4.
    """
    first, second = (functional.normalize(_checked(views), dim=1) for views in (first, second))
    return (first - second).square().sum(dim=1).mean()


def uniformity(features: Tensor) -> Tensor:
    """Log of the mean Gaussian potential between pairs on the unit sphere, t = 2 (Wang & Isola, ICML 2020, eq. 2).

    Args:
        features: ``[N, D]``, N >= 2.

    Returns:
        Scalar from 0 (all coincide) down to about -4 (evenly spread).
    """
    points = functional.normalize(_checked(features), dim=1)
    return torch.pdist(points).square().mul(-2).exp().mean().log()


def monitors(features: Tensor) -> dict[str, float]:
    """Compute all measures on the features of a few videos; logged while pretraining.

    Args:
        features: ``[V, N, D]``: N clips of each of V >= 2 videos.

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
