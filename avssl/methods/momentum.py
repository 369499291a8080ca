"""Momentum encoders."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class MomentumCopy(nn.Module):
    """Momentum encoder: an exponential moving average of a network's weights, without gradient.

    After each step the copy keeps a share m of its weights and takes 1 - m of the network's (MoCo: He et al., CVPR
    2020, equation 2). m rises from ``momentum`` to 1 along half a cosine (BYOL: Grill et al., NeurIPS 2020, section
    3.2). During the first steps, when the average spans less than that, it is the plain mean of all weights so far
    (Tarvainen & Valpola, NeurIPS 2017), so that the copy of a short run isn't dominated by its random initialisation.

    Running statistics of batch normalisation are averaged likewise, and the copy always normalises by them (Cai et al.,
    Exponential Moving Average Normalization, CVPR 2021): its output for a clip is independent of the rest of the batch,
    which would otherwise give positive pairs away (He et al., section 3.3). Initial running mean 0 and variance 1 are
    excluded: an untrained network normalised by them gives nearly the same output for every clip, and a network that
    learns to predict that has collapsed before its copy is any better. The copy shares no memory with ``network``.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.momentum = momentum
        self.schedule: Callable[[float, float], float] = momentum_schedule  # of (momentum, progress); a run may set it
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> MomentumCopy:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        """Return the copy's output, without gradient."""
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, network: nn.Module, progress: float) -> None:
        """Take one step towards a network of the same architecture; call it in `Method.after_step`."""
        self.steps += 1
        steps = self.steps.item()
        kept = self.schedule(min(self.momentum, 1 - 1 / (steps + 1)), progress)
        kept_seen = self.schedule(min(self.momentum, 1 - 1 / steps), progress)  # the first step keeps nothing
        now, seen = network.state_dict(), unbiased_statistics(network)
        for name, tensor in self.network.state_dict().items():
            if name in seen:
                tensor.lerp_(seen[name], 1 - kept_seen)
            elif tensor.is_floating_point():
                tensor.lerp_(now[name], 1 - kept)
            else:
                tensor.copy_(now[name])


def unbiased_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Return batch-normalisation running statistics, by state-dict name, without their initial mean 0 and variance 1.

    The running averages are corrected for their initial values as Adam corrects its moments (Kingma & Ba, ICLR 2015,
    section 3). Layers that have seen no batch are returned unchanged; layers without a moving average, whose statistics
    hold nothing of the initial values, are omitted.
    """
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and layer.num_batches_tracked is not None and layer.momentum is not None:
            start = (1 - layer.momentum) ** layer.num_batches_tracked.clamp(min=1)  # weight of the initial values
            state = layer.state_dict()
            found[f"{name}.running_mean"] = state["running_mean"] / (1 - start)
            found[f"{name}.running_var"] = (state["running_var"] - start) / (1 - start)
    return found


def momentum_schedule(start: float, progress: float) -> float:
    """Return a momentum that rises from ``start`` at progress 0 to 1 at progress 1 along half a cosine (BYOL, 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
