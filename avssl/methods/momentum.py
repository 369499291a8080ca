"""Networks that follow another one slowly, and how much they keep of themselves."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class MomentumCopy(nn.Module):
    """A copy of a network that is not trained but follows it: the exponential moving average of its weights.

    After each step the copy keeps a share m of itself and takes 1 - m of the network (MoCo: He et al., CVPR 2020,
    equation 2). m rises from ``momentum`` to 1 along half a cosine (BYOL: Grill et al., NeurIPS 2020, section 3.2).
    Over the first steps, while the average so far is shorter than that, it is the plain mean of all weights since the
    beginning (Tarvainen & Valpola, NeurIPS 2017), lest a short run end with a copy that still is the random beginning.

    Running statistics of batch normalisation follow in the same way, and the copy always normalises by them (Cai et
    al., Exponential Moving Average Normalization, CVPR 2021): what it says of a clip does not depend on which other
    clips are in the batch, which else gives positive pairs away (He et al., section 3.3). The zero and one that they
    begin with are no statistics and never counted: an untrained network that normalises by them says nearly the same of
    every clip, and one that learns to predict that has collapsed before its copy is any better.

    Args:
        network: what is followed; the copy has a memory of its own.
        momentum: the share that is kept at the beginning.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, momentum: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.momentum = momentum
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> MomentumCopy:
        """Nothing changes: the copy always evaluates."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        """What the copy says, without gradient."""
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, network: nn.Module, progress: float) -> None:
        """One step towards the network; call it in `Method.after_step`.

        Args:
            network: of the same shape as the copy.
            progress: of the run, in (0, 1].
        """
        self.steps += 1
        steps = self.steps.item()
        kept = momentum_at(min(self.momentum, 1 - 1 / (steps + 1)), progress)
        for own, other in zip(self.network.parameters(), network.parameters(), strict=True):
            own.lerp_(other, 1 - kept)
        kept = momentum_at(min(self.momentum, 1 - 1 / steps), progress)  # of the first, nothing that was before
        for layer, trained in zip(self.network.modules(), network.modules(), strict=True):
            if isinstance(layer, _BatchNorm) and isinstance(trained, _BatchNorm):
                for statistic, now in zip((layer.running_mean, layer.running_var), seen_by(trained), strict=True):
                    assert statistic is not None
                    statistic.lerp_(now, 1 - kept)


def seen_by(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Mean and variance ``[C]`` of the batches that a layer of batch normalisation was trained on.

    Its running statistics are an average that begins with mean 0 and variance 1; here that beginning is taken out, as
    Adam does with its moments (Kingma & Ba, ICLR 2015, section 3).

    Args:
        layer: with running statistics; where it has seen no batch, they are given as they are.
    """
    mean, variance, batches = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None and variance is not None and batches is not None and layer.momentum is not None  # noqa: PT018
    start = (1 - layer.momentum) ** batches.clamp(min=1)  # what is left of the beginning
    return mean / (1 - start), (variance - start) / (1 - start)


def momentum_at(start: float, progress: float) -> float:
    """From ``start`` at progress 0 to 1 at progress 1 along half a cosine (BYOL, section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
