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
        kept = momentum_schedule(min(self.momentum, 1 - 1 / (steps + 1)), progress)
        kept_seen = momentum_schedule(
            min(self.momentum, 1 - 1 / steps), progress
        )  # at the first step, nothing of before
        now, seen = network.state_dict(), unbiased_statistics(network)
        for name, tensor in self.network.state_dict().items():
            if name in seen:
                tensor.lerp_(seen[name], 1 - kept_seen)
            elif tensor.is_floating_point():
                tensor.lerp_(now[name], 1 - kept)
            else:
                tensor.copy_(now[name])


def unbiased_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Means and variances of what the layers of batch normalisation were trained on, by their names in the state.

    Running statistics are an average that begins with mean 0 and variance 1; here that beginning is taken out, as Adam
    does with its moments (Kingma & Ba, ICLR 2015, section 3). Those of a layer that has seen no batch are as they are.

    Args:
        network: layers without a moving average, which keep nothing of the beginning, are not in the result.
    """
    found: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, _BatchNorm) and layer.num_batches_tracked is not None and layer.momentum is not None:
            start = (1 - layer.momentum) ** layer.num_batches_tracked.clamp(min=1)  # what is left of the beginning
            state = layer.state_dict()
            found[f"{name}.running_mean"] = state["running_mean"] / (1 - start)
            found[f"{name}.running_var"] = (state["running_var"] - start) / (1 - start)
    return found


def momentum_schedule(start: float, progress: float) -> float:
    """From ``start`` at progress 0 to 1 at progress 1 along half a cosine (BYOL, section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
