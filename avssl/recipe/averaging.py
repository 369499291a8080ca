"""An exponential average of the weights, which is what a run exports."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from avssl.encoders.base import Exportable


class Average(nn.Module):
    """Averages of the networks that a run keeps: one copy of them in memory, part of the run's state.

    After step t (from 0) a copy keeps the share min(decay, t / (t + 1)): during the first 1 / (1 - decay) steps it is
    the plain mean of the weights after each step, so that a short run's isn't dominated by the initial ones.
    Running statistics of batch normalisation are averaged likewise (Cai et al., CVPR 2021); counters are copied.

    Args:
        networks: what is averaged, by part.
        decay: momentum of the average, such as 0.9999.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(copy.deepcopy(dict(networks))).requires_grad_(False).eval()
        self.decay = decay

    def train(self, mode: bool = True) -> Average:
        """Stay in evaluation mode."""
        return super().train(False)

    def __getitem__(self, part: str) -> Exportable:
        """Return the average of a part."""
        network = self.networks[part]
        assert isinstance(network, Exportable)
        return network

    @torch.no_grad()
    def follow(self, networks: Mapping[str, nn.Module], step: int) -> None:
        """Take the weights after a step (from 0) into the average."""
        pairs = list(zip(_tensors(self.networks), _tensors(nn.ModuleDict(dict(networks))), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        mine, theirs = ([pair[side] for pair in floats] for side in (0, 1))
        get_ema_multi_avg_fn(min(self.decay, step / (step + 1)))(mine, theirs, None)
        for own, other in pairs:
            if not own.is_floating_point():
                own.copy_(other)


def _tensors(networks: nn.Module) -> list[Tensor]:
    """Return parameters and buffers, each once, even those of networks that are part of two exports.

    Of sharded ones, this process's part.
    """
    found = (*networks.parameters(), *networks.buffers())
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in found]
