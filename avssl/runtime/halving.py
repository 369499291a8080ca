"""Batches that become smaller when a GPU's memory runs out."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor


class Halving:
    """Call a function on parts of a batch; where a GPU's memory runs out, the parts are halved, which is told.

    Args:
        size: items per part to begin with.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Return the results of all parts of ``batch``, joined along their first axis.

        Raises:
            ValueError: if the memory is too small for a single item.
        """
        done: list[Tensor] = []
        first = 0
        while first < len(batch):
            try:
                done.append(function(batch[first : first + self.size]))
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise ValueError(
                        f"the GPU's memory is too small for one item of {list(batch.shape[1:])}: free it, or use "
                        "--machine.device=cpu"
                    ) from error
                self.size = (self.size + 1) // 2
                print(f"the GPU's memory is too small: batches of {self.size} from here on", file=sys.stderr)
                torch.cuda.empty_cache()
                continue
            first += self.size
        return torch.cat(done)
