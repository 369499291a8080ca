"""Several pretext tasks at once.

C. Doersch, A. Zisserman: Multi-task Self-Supervised Visual Learning. ICCV 2017. https://arxiv.org/abs/1708.07860
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import ResNet
from avssl.methods.base import Method


class MultiTask(Method):
    """All of several pretext tasks on one encoder, each with a head of its own.

    Every task sees the same clips and makes of them what it needs; the loss is the weighted sum of theirs, the naive
    multi-head architecture of the paper (section 4.1).

    Metrics: those of all tasks, each under ``<task>_<metric>``, with their chance.

    Not here: the lasso over layers by which each task chooses what it reads (4.2), the harmonised inputs (4.3), and a
    batch and an optimiser for each task.

    Args:
        encoder: shared by all tasks.
        tasks: methods by name, without their encoder; their samplers must agree.
        weights: of the losses by task, 1 where not given.

    Raises:
        ValueError: where samplers differ, a task needs a labeller, or a weight is of no task.
    """

    encoder: ResNet

    def __init__(
        self,
        encoder: ResNet,
        tasks: dict[str, Callable[[ResNet], Method]],
        weights: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        made = {name: make(encoder) for name, make in tasks.items()}
        samplers = {name: task.sampler for name, task in made.items()}
        self.sampler = next(iter(samplers.values()))
        if any(sampler != self.sampler for sampler in samplers.values()):
            raise ValueError(f"MultiTask: all tasks see the same clips, so that samplers must be equal, got {samplers}")
        labelled = [name for name, task in made.items() if task.labeller is not None]
        if labelled:
            raise ValueError(f"MultiTask: {labelled} need a labeller, whose target the others would not know")
        unknown = sorted(set(weights or {}) - set(made))
        if unknown:
            raise ValueError(f"MultiTask: weights of {unknown}, which are no tasks; the tasks are {sorted(made)}")
        self.weights = dict.fromkeys(made, 1.0) | (weights or {})
        self.tasks = nn.ModuleDict(made)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """The weighted sum of the losses, and the metrics of all tasks."""
        loss = torch.zeros((), device=clips.video.device)
        out: dict[str, Tensor] = {}
        for name, task in self.tasks.items():
            for metric, value in task(clips).items():
                if metric == "loss":
                    loss = loss + self.weights[name] * value
                else:
                    *chance, own = metric.split("/")
                    out["/".join([*chance, f"{name}_{own}"])] = value
        return {"loss": loss, **out}

    def after_step(self, progress: float) -> None:
        """Every task's own."""
        for task in self._methods().values():
            task.after_step(progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """What every task asks, one after the other."""
        said = [task.describe(clips) for task in self._methods().values()]
        return [["; ".join(words) for words in zip(*rows, strict=True)] for rows in zip(*said, strict=True)]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What every task draws."""
        return {
            f"{name}: {what}": drawn
            for name, task in self._methods().items()
            for what, drawn in task.pictures(clips).items()
        }

    def _methods(self) -> dict[str, Method]:
        return {name: task for name, task in self.tasks.items() if isinstance(task, Method)}
