"""LARS: a learning rate per layer, for large batches.

Y. You, I. Gitman, B. Ginsburg: Large Batch Training of Convolutional Networks. 2017. https://arxiv.org/abs/1708.03888
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from avssl.runtime.checks import check_ranges


class LARS(torch.optim.Optimizer):
    """SGD with momentum, in which the step of each weight matrix or kernel is proportional to its norm.

    The gradient g of weights w is replaced by ``trust * |w| / (|g| + weight_decay * |w|) * (g + weight_decay * w)``
    (equation 6); then momentum and learning rate are those of `torch.optim.SGD`. Biases, norms and other parameters
    with one axis get SGD's step without weight decay, as in BYOL (Grill et al., NeurIPS 2020, section 3.3). If weights
    or gradient are all zero, nothing is rescaled.

    Args:
        params: the trainable parameters.
        lr: learning rate, larger than SGD's by about 1 / trust: 0.2 to 0.6 for 256 videos.
        momentum: share of the last step that is kept.
        weight_decay: weight decay, added to the gradient before it is rescaled.
        trust: largest relative change of a layer's weights, before learning rate and momentum.
        nesterov: whether to use Nesterov's momentum.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.2,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        nesterov: bool = False,
    ) -> None:
        given = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "nesterov": nesterov}
        check_ranges("LARS", given, lr="[0, inf)", momentum="[0, 1)", weight_decay="[0, inf)", trust="(0, inf)")
        super().__init__(params, given)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; return the loss of ``closure``, which is called first."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                grad = parameter.grad
                if parameter.ndim > 1:
                    grad = rescaled(parameter, grad, group["weight_decay"], group["trust"])
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                kept = state["momentum"].mul_(group["momentum"]).add_(grad)
                update = grad.add(kept, alpha=group["momentum"]) if group["nesterov"] else kept
                parameter.sub_(update, alpha=group["lr"])
        return loss


def rescaled(weight: Tensor, grad: Tensor, weight_decay: float, trust: float) -> Tensor:
    """Return the gradient with weight decay, of norm at most ``trust`` times the weight's (equation 6)."""
    size, slope = weight.norm(), grad.norm()
    ratio = trust * size / (slope + weight_decay * size)
    return grad.add(weight, alpha=weight_decay) * torch.where((size > 0) & (slope > 0), ratio, torch.ones_like(ratio))
