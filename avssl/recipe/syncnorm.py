"""Batch normalisation over the batch of all processes, on any device (``--trainer.sync_batchnorm=true``)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """On a GPU torch's layer of that name, which raises on a CPU; there, the same from two sums over all processes.

    In training mode, mean and variance are those of one process with the whole batch (Ioffe & Szegedy, ICML 2015,
    algorithm 1), whatever each process's share of it; so are the gradients and the running statistics.
    """

    process_group = None  # all processes
    _check_input_dim = nn.SyncBatchNorm._check_input_dim
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        if input.device.type != "cpu":
            return nn.SyncBatchNorm.forward(self, input)  # type: ignore[arg-type]
        together = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not (self.training and together):
            return super().forward(input)
        values = input.float().transpose(0, 1).flatten(1)  # [C, M]
        count = values.new_tensor(values.shape[1])
        distributed.all_reduce(count)
        mean = _Summed.apply(values.sum(1)) / count  # [C]
        away = values - mean[:, None]
        variance = _Summed.apply(away.square().sum(1)) / count
        self._follow(mean.detach(), (variance * count / (count - 1)).detach())
        out = away / (variance + self.eps).sqrt()[:, None]
        if self.affine:
            out = out * self.weight[:, None] + self.bias[:, None]
        rest = input.transpose(0, 1).shape
        return out.unflatten(1, rest[1:]).transpose(0, 1).to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards ``[C]`` mean and unbiased variance, as `torch.nn.BatchNorm2d` does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class SyncNorms(TorchSyncBatchNorm):
    """Lightning's plugin, which gives a model these layers."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Turn every batch normalisation into one over all processes; its weights and names stay."""
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                layer.__class__ = SyncBatchNorm
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave the layers: outside training they compute what others do."""
        return model


class _Summed(torch.autograd.Function):
    """Sum over processes; the gradient is the sum of what every process's loss asks of it."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        distributed.all_reduce(total)
        return total
