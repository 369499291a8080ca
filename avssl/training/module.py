"""The training step of a method as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods import Method
from avssl.methods.momentum import MomentumCopy
from avssl.pixels import MEAN, STD
from avssl.recipe.averaging import Average
from avssl.recipe.finite import LossWatch, check_weights
from avssl.recipe.groups import parameters
from avssl.recipe.lengths import Length
from avssl.recipe.recipe import PLAIN, Recipe
from avssl.recipe.schedules import Schedule, Timetable, scale
from avssl.runtime.seeds import key
from avssl.training.memory import compile_parts, recompute_blocks

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def statistics(encoder: Encoder) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and standard deviation of the pixels that an encoder expects, per channel.

    They are those on its card if it was loaded; for a new network, those of Kinetics-400.
    """
    return encoder.card.get("mean", MEAN), encoder.card.get("std", STD)


class Pretraining(L.LightningModule):
    """A method in training; see `avssl.training.pretrain` for the first arguments.

    Seed, step, forward pass within the step, and rank determine all random numbers of ``method.forward``.

    Args:
        method, optimizer, schedule, warmup, seed, recipe: see `avssl.training.pretrain`.
        batch_size: videos per forward pass, over all processes.
        per_epoch: steps per epoch.

    Attributes:
        latest: loss and metrics of the last step, on the device, for the logs.
        shown: those of the last step that was logged, for the progress bar.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        method: Method,
        optimizer: OptimizerFactory,
        schedule: Schedule = "cosine",
        warmup: Length = 0.05,
        seed: int = 0,
        recipe: Recipe = PLAIN,
        batch_size: int = 1,
        per_epoch: float = 1.0,
    ) -> None:
        super().__init__()
        self.method, self.optimizer, self.schedule, self.warmup, self.seed = method, optimizer, schedule, warmup, seed
        self.recipe, self.batch_size, self.per_epoch = recipe, batch_size, per_epoch
        self.latest: dict[str, Tensor] = {}
        self.shown: dict[str, float] = {}
        self.losses = LossWatch()
        self.average = Average(method.exports(), recipe.average) if recipe.average else None
        if recipe.checkpoint_activations:
            recompute_blocks(method.encoder)
        if recipe.compile:
            compile_parts(method, recipe.compile)
        mean, std = statistics(method.encoder)
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    @cached_property
    def timetable(self) -> Timetable:
        """The schedules of the run."""
        return Timetable(self.recipe, self.schedule, self.warmup, self.trainer.max_steps, self.per_epoch)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the method's loss and metrics for a batch of uint8 clips on this device."""
        return self.method(clips.normalised(self.mean, self.std))

    def on_fit_start(self) -> None:
        """Set training mode (a loaded encoder comes in eval mode), and the schedule of momentum encoders."""
        self.train()
        if self.recipe.schedules_momentum:
            for part in self.method.modules():
                if isinstance(part, MomentumCopy):
                    part.schedule = self.timetable.momentum

    def training_step(self, clips: Clips, batch_index: int) -> Tensor:
        """Return the loss; its random numbers do not depend on earlier steps, so that a resumed run is exact."""
        step, passes = self.trainer.global_step, self.recipe.accumulate
        place = batch_index % passes
        torch.manual_seed(key(self.seed, step, self.trainer.global_rank, *([place] if place else [])))
        out = self(clips)
        self.losses.note(out["loss"].detach(), step)
        self.losses.look()
        values = {name: value.detach().float().mean() / passes for name, value in out.items()}
        self.latest = {name: self.latest[name] + value for name, value in values.items()} if place else values
        return out["loss"]

    def ends_step(self, batch_index: int) -> bool:
        """Return whether a forward pass was the last of its step."""
        return (batch_index + 1) % self.recipe.accumulate == 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise `FloatingPointError` on all processes if a loss of one was, or its weights are, not finite."""
        found = None
        try:
            self.losses.read()
            check_weights(self.method.parameters(), self.trainer.global_step)
        except FloatingPointError as error:
            found = error
        if self.trainer.strategy.reduce_boolean_decision(found is not None, all=False):
            raise found or FloatingPointError("another process stopped: its loss or weights are not finite")

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Step the optimiser, then the average of the weights, and the method's momentum encoders and queues."""
        step = self.trainer.global_step
        for group in optimizer.param_groups if self.recipe.decay_end is not None else []:
            if not group.get("spared"):
                group["weight_decay"] = self.timetable.decay(step, optimizer.defaults["weight_decay"])
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.average is not None:
            self.average.follow(self.method.exports(), step)
        self.method.after_step((step + 1) / self.trainer.max_steps)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip gradients as the trainer's options say, from the step on that the recipe says."""
        if not self.recipe.clip_after_warmup or self.trainer.global_step >= self.timetable.rising:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """Return the optimiser over the trainable parameters, and the schedule per step."""
        optimizer = self.optimizer(parameters(self.method, self.recipe))  # type: ignore[arg-type]
        for group in optimizer.param_groups:
            group["lr"] *= scale(self.recipe, self.batch_size) * group.get("lr_scale", 1.0)
        given = optimizer.defaults["lr"]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.timetable.rate(step, given))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Clips, device: torch.device, dataloader_idx: int) -> Clips:
        """Move clips, which Lightning does not know."""
        return batch.to(device)
