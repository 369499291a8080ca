"""Watching for losses and weights that are not finite, without a wait for the device in each step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

KINDS = {0: "nan", 1: "inf", -1: "-inf"}
REMEDY = "lower the learning rate, or use --trainer.precision=32-true to see whether bfloat16 is too coarse"


class LossWatch:
    """Finds the first step whose loss was not finite.

    The finding is kept on the device. On a GPU it is copied to the host while the next steps are computed, and `look`
    judges it when it has arrived; `read` waits for it. On a CPU it is there at once. ``remedy`` ends the error.
    """

    def __init__(self, remedy: str = REMEDY) -> None:
        self.remedy = remedy
        self.first: Tensor | None = None  # [2]: the step, or -1; the kind of its loss
        self.arriving: tuple[Tensor, torch.cuda.Event] | None = None

    @torch.no_grad()
    def note(self, loss: Tensor, step: int) -> None:
        """Remember the step if its scalar loss is the first that is not finite."""
        kind = loss.float().sign().nan_to_num(0.0).long()
        now = torch.stack([torch.full_like(kind, step), kind])
        before = torch.full_like(now, -1) if self.first is None else self.first
        self.first = torch.where((before[0] < 0) & ~torch.isfinite(loss), now, before)

    def look(self) -> None:
        """Raise `FloatingPointError` if such a step is known by now; never wait for the device."""
        if self.first is None:
            return
        if self.first.device.type == "cpu":
            self.read()
        elif self.first.device.type == "cuda":
            if self.arriving is not None and self.arriving[1].query():
                _refuse(self.arriving[0], self.remedy)
                self.arriving = None
            if self.arriving is None:
                arrived = torch.empty(2, dtype=torch.int64, pin_memory=True).copy_(self.first, non_blocking=True)
                event = torch.cuda.Event()
                event.record()
                self.arriving = arrived, event

    def read(self) -> None:
        """Raise `FloatingPointError` if there was such a step, naming it; wait for the device."""
        if self.first is not None:
            _refuse(self.first, self.remedy)


def _refuse(first: Tensor, remedy: str) -> None:
    step, kind = first.tolist()
    if step >= 0:
        raise FloatingPointError(f"the loss is {KINDS[kind]} at step {step}: {remedy}")


def check_weights(weights: Iterable[Tensor], step: int, remedy: str = REMEDY) -> None:
    """Raise `FloatingPointError` if weights are not finite after a number of steps; waits for the device once."""
    local = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]
    sums = [weight.detach().float().abs().amax() for weight in local if weight.numel()]
    if sums and not torch.isfinite(torch.stack(sums)).all():
        raise FloatingPointError(f"weights are not finite after step {step}, though the loss was: {remedy}")
