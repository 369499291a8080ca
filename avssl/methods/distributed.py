"""Batches that span processes.

Row k of rank r is video k world + r of the batch (see `avssl.data.loader.Steps`). Gradients are those of the mean loss
over ranks, which DDP and FSDP take by averaging: with these functions it equals the loss of one process that has the
whole batch. Outside training (no gradients) every rank is alone: held-out videos are measured by batches of one rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def world() -> int:
    """Return the number of processes that share a training batch; 1 outside training."""
    if torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Gather the rows of all ranks, with gradients: ``[B, ...]``, with the same B on every rank, to ``[world B, ...]``.

    Also returns the offset of this rank's rows in them. With a single process, or outside training, returns the rows
    themselves and 0.
    """
    if world() == 1:
        return rows, 0
    return _Gathered.apply(rows), distributed.get_rank() * len(rows)


def roll(rows: Tensor, shift: int) -> Tensor:
    """Give each of ``[B, ...]`` videos the row of the video ``shift`` places before it in the batch, cyclically.

    It is ``rows.roll(shift, 0)`` of the whole batch, with gradients, so that the neighbour may be another rank's.
    """
    if world() == 1:
        return rows.roll(shift, 0)
    every, offset = gather(rows)
    whole = every.unflatten(0, (-1, len(rows))).transpose(0, 1).flatten(0, 1)  # in the order of the batch
    return whole.roll(shift, 0)[offset // len(rows) :: world()]


def shared_mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Average the chosen values of all ranks, bool ``chosen`` of the shape of ``values``; 0 if none is.

    Ranks may have chosen different numbers. The result is this rank's share: the mean over ranks is the mean over all
    chosen values.
    """
    count = chosen.sum().to(values.dtype)
    if world() > 1:
        distributed.all_reduce(count)
        count = count / world()
    total = torch.where(chosen, values, torch.zeros_like(values)).sum()
    return total / torch.where(count > 0, count, torch.ones_like(count))


class _Gathered(torch.autograd.Function):
    """Concatenation over ranks, whose gradient sums what every rank's loss asks of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        parts = [part.contiguous() for part in grads[0].chunk(distributed.get_world_size())]
        own = torch.empty_like(parts[0])
        distributed.reduce_scatter(own, parts)
        return own
