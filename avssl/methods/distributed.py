"""Batches that span processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Gather the rows of all ranks, with gradients: ``[B, ...]``, with the same B on every rank, to ``[world B, ...]``.

    Also returns the offset of this rank's rows in them. With a single process, or outside training, returns the rows
    themselves and 0: held-out videos are evaluated on one rank, which must not wait for the others.
    """
    if not (torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()):
        return rows, 0
    return torch.cat(all_gather(rows)), torch.distributed.get_rank() * len(rows)
