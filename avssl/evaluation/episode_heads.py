"""How the queries of few-shot episodes are classified from their support; see `avssl.evaluation.episodes`."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Head: TypeAlias = Literal["linear", "cosine", "prototypes", "neighbour"]
COSINE_SCALE, COSINE_STEPS, COSINE_RATE, COSINE_DECAY = 10.0, 100, 0.1, 1e-3


def classify(support: Tensor, query: Tensor, head: Head, strength: float = 1.0) -> Tensor:
    """Return the class ``[E, N Q]`` of the queries ``[E, N Q, D]`` of E episodes with the support ``[E, N, K, D]``.

    Features are of unit length. ``strength`` is C of the linear head.
    """
    shots = support.shape[2]
    if head == "prototypes":
        return torch.cdist(query, support.mean(2)).argmin(2)
    flat = support.flatten(1, 2)  # [E, N K, D]
    if head == "neighbour":
        return (query @ flat.mT).argmax(2) // shots
    flat, query = _within(flat, query)
    support = rearrange(flat, "e (n k) d -> e n k d", k=shots)
    return _cosine(support, query) if head == "cosine" else _linear(support, query, strength)


def _within(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Express features in a basis of the space that the S support vectors span: ``[E, S, S]`` and ``[E, N Q, S]``.

    A head whose class vectors are sums of support vectors sees no other part of the queries, and S is small.
    """
    gram = (support @ support.mT).double()
    values, vectors = torch.linalg.eigh(gram)
    known = values > 1e-6 * values[:, -1:]
    scale = torch.where(known, values, 1).rsqrt() * known  # [E, S]
    turned = (vectors * scale[:, None]).to(support.dtype)  # [E, S, S]
    return gram.to(support.dtype) @ turned, (query @ support.mT) @ turned


def _linear(support: Tensor, query: Tensor, strength: float) -> Tensor:
    """Minimise the sum of the losses plus ``|W|^2 / 2C`` by Nesterov's method, whose rate is known beforehand.

    The loss's curvature is at most half the largest eigenvalue of the support's Gram matrix, and the sum's at least
    1 / C: the error falls by exp(-sqrt(lowest / highest)) per step, and is below 1e-6 at the end.
    """
    _, ways, shots, _ = support.shape
    flat = support.flatten(1, 2)
    lowest = 1 / strength
    highest = torch.linalg.eigvalsh((flat @ flat.mT).double())[:, -1].to(flat.dtype)[:, None, None] / 2 + lowest
    ratio = (highest / lowest).sqrt()
    momentum, steps = (ratio - 1) / (ratio + 1), math.ceil(14 * float(ratio.max()))
    true = F.one_hot(torch.arange(ways, device=flat.device).repeat_interleave(shots), ways).to(flat.dtype)  # [N K, N]
    weights = torch.zeros(len(flat), flat.shape[2], ways, dtype=flat.dtype, device=flat.device)
    ahead = weights
    for _ in range(steps):
        slope = flat.mT @ ((flat @ ahead).softmax(2) - true) + lowest * ahead
        before, weights = weights, ahead - slope / highest
        ahead = weights + momentum * (weights - before)
    return (query @ weights).argmax(2)


def _cosine(support: Tensor, query: Tensor) -> Tensor:
    """Train class vectors, begun at the class means, on the cross-entropy of scaled cosines."""
    _, ways, shots, _ = support.shape
    flat = F.normalize(support.flatten(1, 2), dim=2)
    true = F.one_hot(torch.arange(ways, device=flat.device).repeat_interleave(shots), ways).to(flat.dtype)
    weights = F.normalize(support.mean(2), dim=2)  # [E, N, D]
    for _ in range(COSINE_STEPS):
        length = weights.norm(dim=2, keepdim=True).clamp_min(1e-12)
        unit = weights / length
        error = (COSINE_SCALE * flat @ unit.mT).softmax(2) - true  # [E, N K, N]
        slope = COSINE_SCALE * error.mT @ flat / flat.shape[1]  # of the unit vectors
        slope = (slope - (slope * unit).sum(2, keepdim=True) * unit) / length
        weights = weights - COSINE_RATE * (slope + COSINE_DECAY * weights)
    return (query @ F.normalize(weights, dim=2).mT).argmax(2)
