"""Several pretext tasks at once.

C. Doersch, A. Zisserman: Multi-task Self-Supervised Visual Learning. ICCV 2017. https://arxiv.org/abs/1708.07860
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset
from avssl.encoders import ResNet
from avssl.methods.base import Method


class MultiTask(Method):
    """Train one encoder on several pretext tasks, each with its own head.

    Every task receives the same clips, with labels if it is semi-supervised; the loss is the weighted sum of theirs:
    the naive multi-head architecture of the paper (section 4.1). The lasso by which each task chooses the layers it
    reads (4.2), harmonised inputs (4.3), and a batch and an optimiser per task are left out.

    Metrics: those of all tasks, each under ``<task>_<metric>``, with their chance levels.

    Args:
        encoder: shared by all tasks.
        tasks: methods by name, without their encoder; their samplers must be equal, and none may need a labeller.
        weights: weights of the losses by task, 1 by default.
    """

    encoder: ResNet

    def __init__(
        self, encoder: ResNet, tasks: dict[str, Callable[[ResNet], Method]], weights: dict[str, float] | None = None
    ) -> None:
        made = {name: make(encoder) for name, make in tasks.items()}
        samplers = {name: task.sampler for name, task in made.items()}
        super().__init__(encoder, next(iter(samplers.values())))
        if any(sampler != self.sampler for sampler in samplers.values()):
            raise ValueError(f"MultiTask: all tasks see the same clips, so samplers must be equal, got {samplers}")
        labelled = [name for name, task in made.items() if task.labeller is not None]
        if labelled:
            raise ValueError(f"MultiTask: {labelled} need a labeller, whose target the other tasks don't expect")
        unknown = sorted(set(weights or {}) - set(made))
        if unknown:
            raise ValueError(f"MultiTask: weights of {unknown}, which are no tasks; the tasks are {sorted(made)}")
        self.weights = dict.fromkeys(made, 1.0) | (weights or {})
        self.tasks = nn.ModuleDict(made)
        self.uses_labels = any(task.uses_labels for task in made.values())

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the weighted sum of the losses, and the metrics of all tasks."""
        loss = torch.zeros((), device=clips.video.device)
        out: dict[str, Tensor] = {}
        unlabelled = replace(clips, label=None)
        for name, task in self._methods().items():
            for metric, value in task(clips if task.uses_labels else unlabelled).items():
                if metric == "loss":
                    loss = loss + self.weights[name] * value
                else:
                    *chance, own = metric.split("/")
                    out["/".join([*chance, f"{name}_{own}"])] = value
        return {"loss": loss, **out}

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Ask every task."""
        for task in self._methods().values():
            task.check(training, held_out)

    def after_step(self, progress: float) -> None:
        """Update every task."""
        for task in self._methods().values():
            task.after_step(progress)

    def describe(self, clips: Clips) -> list[list[str]]:
        """Join the descriptions of all tasks."""
        said = [task.describe(clips) for task in self._methods().values()]
        return [["; ".join(words) for words in zip(*rows, strict=True)] for rows in zip(*said, strict=True)]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the images of every task."""
        images = {name: task.pictures(clips) for name, task in self._methods().items()}
        return {f"{name}: {what}": image for name, parts in images.items() for what, image in parts.items()}

    def _methods(self) -> dict[str, Method]:
        return {name: task for name, task in self.tasks.items() if isinstance(task, Method)}
