"""Batches that span processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Rows of all ranks, with gradients, and where this rank's rows begin among them.

    Args:
        rows: ``[B, ...]``, as many on every rank.

    Returns:
        ``[world B, ...]`` and the offset; the rows themselves and 0 where there is one process, and outside training
        (held-out videos are measured on one rank, which must not wait for the others).
    """
    if not (torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows, 0
    return torch.cat(all_gather(rows)), torch.distributed.get_rank() * len(rows)
