"""A queue of keys from recent steps, as negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avssl.methods.losses import inner_products


class KeyQueue(nn.Module):
    """The last keys of a momentum encoder, first in, first out (MoCo: He et al., CVPR 2020, section 3.2).

    No step waits for the device to learn how many keys there are: places that are still empty score -inf. Keys are
    enqueued after the step (`advance`), those of all its accumulated batches together.

    Args:
        size: keys that are kept; may be 0.
        width: D of a key.
    """

    keys: Tensor
    seen: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(size, width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # keys enqueued so far
        self.fresh: list[Tensor] = []  # keys of this step

    def similarities(self, queries: Tensor) -> Tensor:
        """Return the inner products of queries ``[B, D]`` with all keys, ``[B, size]`` float32, -inf for no key."""
        empty = torch.arange(len(self.keys), device=self.keys.device) >= self.seen
        return inner_products(queries, self.keys).masked_fill(empty, -torch.inf)

    def offer(self, keys: Tensor) -> None:
        """Remember keys ``[K, D]`` of this step, in training only."""
        if self.training:
            self.fresh.append(keys.detach())

    @torch.no_grad()
    def advance(self) -> None:
        """Replace the oldest keys by those of this step; call it in `Method.after_step`."""
        if self.fresh and len(self.keys):
            fresh = torch.cat(self.fresh)[-len(self.keys) :]
            places = (self.seen + torch.arange(len(fresh), device=self.seen.device)) % len(self.keys)
            self.keys[places] = fresh.to(self.keys.dtype)
            self.seen += len(fresh)
        self.fresh = []
