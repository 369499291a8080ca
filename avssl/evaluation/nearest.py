"""Nearest neighbours by blocks on a device, exact: memory does not grow with the number of videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.evaluation.blocks import blocks
from avssl.evaluation.readout import Bank

QUERIES = 4096  # views that are compared with a block of the pool at once


def nearest_views(
    bank: Bank, queries: Sequence[int], pool: Sequence[int], count: int, mean: bool = False
) -> tuple[Tensor, Tensor]:
    """Find the views of ``pool`` nearest to each view of ``queries`` by cosine; of equal ones the first come first.

    Args:
        bank: features.
        queries: positions of videos.
        pool: positions of the videos that are searched.
        count: neighbours of each query, at most as many as there are.
        mean: compare the mean features of videos instead of their views.

    Returns:
        cosines ``[queries, count]``, falling, and places ``[queries, count]`` in the views of the pool. Queries are
        the views of one video after the other.
    """
    wanted = torch.cat([found for _, found in _unit(bank, queries, mean)])  # [Q, D]
    views = 1 if mean else bank.features.shape[1]
    count = min(count, len(pool) * views)
    best = torch.full((len(wanted), count), -torch.inf, device=wanted.device)
    places = torch.zeros(len(wanted), count, dtype=torch.int64, device=wanted.device)
    begin = 0
    for _, known in _unit(bank, pool, mean, width=QUERIES):
        for start in range(0, len(wanted), QUERIES):
            part = slice(start, start + QUERIES)
            best[part], places[part] = _merge(best[part], places[part], wanted[part] @ known.T, begin)
        begin += len(known)
    return best, places


def _merge(best: Tensor, places: Tensor, cosine: Tensor, begin: int) -> tuple[Tensor, Tensor]:
    """Merge the k best so far ``[Q, k]`` with a block's cosines ``[Q, B]``, whose places begin at ``begin``.

    Only values above the k-th best can enter. They are few after the first blocks, and they are sorted stably behind
    the best so far, so that of equal ones the first is kept.
    """
    k = best.shape[1]
    row, column = (cosine > best[:, -1:]).nonzero(as_tuple=True)  # in the order of rows, then of places
    if not len(row):
        return best, places
    entering = torch.bincount(row, minlength=len(best))
    slot = torch.arange(len(row), device=row.device) - (entering.cumsum(0) - entering)[row]
    values = torch.full((len(best), int(entering.max())), -torch.inf, device=best.device)
    where = torch.zeros(values.shape, dtype=torch.int64, device=best.device)
    values[row, slot], where[row, slot] = cosine[row, column], column + begin
    values, where = torch.cat([best, values], 1), torch.cat([places, where], 1)
    found, order = values.sort(dim=1, descending=True, stable=True)
    return found[:, :k], where.gather(1, order[:, :k])


def _unit(bank: Bank, rows: Sequence[int], mean: bool, width: int = 0) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield blocks of features of unit length: ``[B * M, D]``, or ``[B, D]`` of the means of videos."""
    for places, found in blocks(bank, rows, width):
        if mean:
            found = found.unflatten(0, (len(places), -1)).mean(1)
        yield places, F.normalize(found, dim=1, eps=1e-12)


def vote(bank: Bank, cosine: Tensor, places: Tensor, pool: Sequence[int], temperature: float) -> np.ndarray:
    """Return class votes ``[Q, K]`` of the neighbours found by `nearest_views`, weighted by exp(cosine / temperature).

    They sum to 1; with several classes per video each is the share, by weight, of the neighbours that show it.
    """
    labels = torch.from_numpy(np.ascontiguousarray(bank.labels[list(pool)])).to(cosine.device)
    weight = ((cosine - 1) / temperature).exp()
    weight = weight / weight.sum(1, keepdim=True)
    shown = labels[places.div(bank.features.shape[1], rounding_mode="floor")]  # [Q, k], or [Q, k, K]
    if labels.ndim == 2:
        return torch.einsum("qn,qnk->qk", weight, (shown > 0).float()).cpu().numpy()
    votes = torch.zeros(len(cosine), bank.classes, device=cosine.device)
    return votes.scatter_add_(1, shown.long(), weight).cpu().numpy()
