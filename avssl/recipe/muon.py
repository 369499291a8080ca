"""Muon: momentum whose updates are orthogonal matrices.

K. Jordan et al.: Muon: An optimizer for hidden layers in neural networks. 2024. https://kellerjordan.github.io/posts/muon/
J. Liu et al.: Muon is Scalable for LLM Training. 2025. https://arxiv.org/abs/2502.16982
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

MOMENTUM = 0.95  # Nesterov's, for matrices
BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's, for vectors
SIZE = 0.2  # root mean square of an update before the learning rate, about that of Adam's (Liu, section 2.2)
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic; steep at 0, so that five rounds suffice
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon for weight matrices, Adam for biases, norms and tokens, with one learning rate for both.

    The momentum of a matrix is replaced by the nearest orthogonal matrix, so that directions with small gradients move
    as far as the others. Layers stacked in one matrix, such as query, key and value, count as one. Updates have the
    size of Adam's (Liu et al., equation 4). Convolution kernels count as matrices ``[out, in x kernel]``.

    `torch.optim.Muon` takes only matrices and computes in bfloat16, which many processors emulate; this one takes all
    parameters and computes in float32.

    Args:
        params: the trainable parameters.
        lr: learning rate; VideoMAE uses four times and V-JEPA three times its learning rate with AdamW.
        weight_decay: decoupled weight decay of matrices; nothing else decays.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters; return the loss of ``closure``, which is called first."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim > 1:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = _matrix if parameter.ndim > 1 else _vector
                parameter.sub_(update(parameter.grad, self.state[parameter]), alpha=group["lr"])
        return loss


def _matrix(grad: Tensor, state: dict[str, Any]) -> Tensor:
    """Return the update of a matrix or kernel, before the learning rate."""
    if not state:
        state["momentum"] = torch.zeros_like(grad)
    momentum = state["momentum"].lerp_(grad, 1 - MOMENTUM)
    wanted = grad.lerp(momentum, MOMENTUM)
    if isinstance(wanted, DTensor):  # sharded: every process gathers and turns the whole, and keeps its part
        whole = _turned(wanted.full_tensor())
        return distribute_tensor(whole, wanted.device_mesh, wanted.placements, src_data_rank=None)
    return _turned(wanted)


def _turned(momentum: Tensor) -> Tensor:
    """Return the orthogonal matrix nearest to a matrix or kernel, at the size of an update."""
    flat = momentum.flatten(1)
    return (SIZE * max(flat.shape) ** 0.5 * orthogonal(flat)).view_as(momentum)


def _vector(grad: Tensor, state: dict[str, Any]) -> Tensor:
    """Return Adam's update, before the learning rate."""
    if not state:
        state.update(step=torch.zeros(()), mean=torch.zeros_like(grad), square=torch.zeros_like(grad))
    state["step"] += 1
    mean, square = state["mean"].lerp_(grad, 1 - BETAS[0]), state["square"].lerp_(grad.square(), 1 - BETAS[1])
    rest = [1 - beta ** state["step"].double() for beta in BETAS]  # on the CPU: nothing waits for the device
    return mean / rest[0] / ((square / rest[1]).sqrt() + EPSILON)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return approximately the orthogonal matrix nearest to ``[m, n]``.

    Singular vectors stay, singular values come to lie between 0.7 and 1.2: Newton-Schulz iteration of degree five
    (Jordan). Zeros give zeros.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if wide is not matrix else x
