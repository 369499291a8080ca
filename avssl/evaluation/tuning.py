"""The training of a classifier as a LightningModule, and as one call: several processes, exact resume, progress.

The gradient of a step is that of the whole batch, whatever the number of processes and of forward passes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.nn import functional

from avssl.evaluation.budget import Budget
from avssl.evaluation.features import Normalise
from avssl.evaluation.mixing import mixed, targets
from avssl.evaluation.training_clips import LabelledClips, Pixels, Sample, TrainingLoader
from avssl.recipe.averaging import Average
from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints, latest
from avssl.recipe.finite import LossWatch, check_weights
from avssl.recipe.groups import parameters
from avssl.recipe.lars import LARS
from avssl.recipe.logs import PlainProgress, quiet_lightning
from avssl.recipe.syncnorm import SyncNorms
from avssl.runtime.device import Machine
from avssl.runtime.processes import from_first, joined, local_world, rank, tell, world
from avssl.runtime.seeds import key

MINUTES = 2.0  # between checkpoints
REMEDY = "lower the learning rate of the budget (lr), or give it a longer warmup or recipe.clip"
LOUD = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.distributed")  # names of loggers


@runtime_checkable
class SideTask(Protocol):
    """A classifier that learns another task beside the class."""

    def beside(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits ``[N, K]`` of clips, and what the other task adds to the mean loss."""
        ...


class ClassifierTraining(L.LightningModule):
    """A classifier in training.

    Its random numbers are functions of seed, step and process, so that a resumed training is exact.

    Args:
        model: a classifier with an ``encoder``; what needs no gradient is left as it is.
        pixels, budget, seed: see `fit`.
        videos: number of videos that are trained on.

    Attributes:
        losses: ``[steps]``, this process's part of each step's loss, on the device.
    """

    def __init__(self, model: nn.Module, pixels: Pixels, budget: Budget, videos: int, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False  # a step may take several forward passes
        self.model, self.pixels, self.budget, self.seed = model, pixels, budget, seed
        self.timetable = budget.timetable(videos)
        self.transform = LabelledClips(pixels, budget, seed).transform
        self.normalise = Normalise.of(model.encoder, pixels.machine)  # type: ignore[arg-type]
        self.average = Average({"model": model}, budget.recipe.average) if budget.recipe.average else None
        self.passes = pixels.machine.passes
        self.watch = LossWatch(REMEDY)
        self.losses = torch.zeros(self.timetable.steps, device=pixels.machine.target)

    @property
    def shown(self) -> dict[str, float]:
        """The last loss, for a line of progress every few seconds: to read it is to wait for the device."""
        return {"loss": float(self.losses[max(0, self.trainer.global_step - 1)]) * world()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser over the trainable parameters."""
        recipe = self.budget.recipe
        given: Any = parameters(self.model, recipe.shared())
        common: dict[str, Any] = {"lr": self.budget.lr, "weight_decay": self.budget.weight_decay}
        if recipe.optimizer in ("AdamW", "Adam"):
            adam = torch.optim.AdamW if recipe.optimizer == "AdamW" else torch.optim.Adam
            return adam(given, betas=recipe.betas, **common)
        kind: Any = LARS if recipe.optimizer == "LARS" else torch.optim.SGD
        made: torch.optim.Optimizer = kind(given, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
        return made

    def transfer_batch_to_device(self, batch: Sample, device: torch.device, dataloader_idx: int) -> Sample:
        """Move what the device needs."""
        return batch.to(device)

    def training_step(self, batch: Sample, batch_index: int) -> None:
        """Train on a batch, in more forward passes if the device's memory is too small for as many as so far."""
        step, optimiser = self.trainer.global_step, self.optimizers()
        assert isinstance(optimiser, LightningOptimizer)
        for group in optimiser.param_groups:
            group["lr"] = self.budget.lr * group.get("lr_scale", 1.0) * self.timetable.rate(step, self.budget.lr)
        clips, wanted = self._inputs(batch, step)
        statistics = list(self.model.buffers())
        before = [tensor.clone() for tensor in statistics]
        while True:
            optimiser.zero_grad()
            torch.manual_seed(key(self.seed, step, self.trainer.global_rank))
            try:
                loss = self._gradients(clips, wanted)
                break
            except torch.OutOfMemoryError as error:
                self._divide(len(clips), error)
            for tensor, value in zip(statistics, before, strict=True):
                tensor.copy_(value)
        if self.budget.recipe.clip is not None:
            self.clip_gradients(optimiser, self.budget.recipe.clip, "norm")
        optimiser.step()
        if self.average is not None:
            self.average.follow({"model": self.model}, step)
        self.losses[step] = loss
        self.watch.note(loss, step)
        self.watch.look()

    @torch.no_grad()
    def _inputs(self, batch: Sample, step: int) -> tuple[Tensor, Tensor]:
        """Return normalised clips ``[N, T, 3, H, W]`` and labels ``[N]`` or targets ``[N, K]``."""
        recipe, wanted = self.budget.recipe, batch.labels
        video = batch.video if self.transform is None else self.transform.finish(batch.video, batch.drawn)
        clips = self.normalise(video)
        if wanted.ndim == 2 or recipe.mixup or recipe.cutmix:
            rng = np.random.default_rng([self.seed, step])
            clips, wanted = mixed(clips, targets(wanted, self.pixels.classes), recipe, rng)
        return clips.flatten(0, 1), wanted.repeat_interleave(recipe.repeats, 0)

    def _gradients(self, clips: Tensor, wanted: Tensor) -> Tensor:
        """Add up the gradients of this process's clips; return their part of the loss of the whole batch."""
        whole = self.budget.batch_size * self.budget.recipe.repeats
        parts = list(zip(clips.chunk(self.passes), wanted.chunk(self.passes), strict=True))
        total = clips.new_zeros(())
        for number, (some, aims) in enumerate(parts, start=1):
            strategy = self.trainer.strategy
            waits = isinstance(strategy, DDPStrategy) and number < len(parts)
            with strategy.block_backward_sync() if waits else nullcontext():
                more: Tensor | float = 0.0
                with self.pixels.machine.autocast():
                    if isinstance(self.model, SideTask):
                        logits, more = self.model.beside(some)
                    else:
                        logits = self.model(some)
                loss = (self._loss(logits.float(), aims) + more) * (len(some) / whole)
                self.manual_backward(loss * world())  # processes are averaged
            total += loss.detach()
        return total

    def _loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Return the cross-entropy over classes; with several per video, the mean of that of each class."""
        smoothing = self.budget.recipe.smoothing
        if self.pixels.labels.ndim == 1:
            return functional.cross_entropy(logits, wanted, label_smoothing=smoothing)
        return functional.binary_cross_entropy_with_logits(logits, wanted * (1 - smoothing) + smoothing / 2)

    def _divide(self, clips: int, error: torch.OutOfMemoryError) -> None:
        """Halve the forward passes."""
        if world() > 1 or self.passes >= clips:
            remedy = f"machine.passes={2 * self.passes}" if self.passes < clips else "smaller clips or another encoder"
            raise torch.OutOfMemoryError(
                f"{self.pixels.machine.target} has too little memory for {-(-clips // self.passes)} clips in a forward "
                f"pass of training ({error}): use {remedy}"
            ) from error
        self.passes = min(clips, 2 * self.passes)
        tell(
            f"note: out of memory: training goes on with {self.passes} forward passes per step (machine.passes), of "
            f"{-(-clips // self.passes)} clips at most. Gradients are those of the whole batch; batch normalisation, "
            "if there is any, sees fewer clips at once"
        )

    def whole_losses(self) -> Tensor:
        """Return the loss of each step so far over all processes, all of which must call it: ``[steps]``."""
        losses = self.losses.clone()
        if world() > 1:
            distributed.all_reduce(losses)
        return losses

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses; raise `FloatingPointError` if one, or weights, are not finite."""
        self.watch.read()
        check_weights(self.model.parameters(), self.trainer.global_step, REMEDY)
        checkpoint["losses"] = self.whole_losses()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the losses."""
        if rank() == 0:
            self.losses.copy_(checkpoint["losses"])


def fit(
    model: nn.Module, pixels: Pixels, rows: Sequence[int], budget: Budget, seed: int, folder: Path | None = None
) -> list[float]:
    """Train a classifier on some videos and return the loss of every step.

    The loss is the cross-entropy over classes; with several classes per video, the mean of that of each class.
    ``seed`` decides the order, the augmentation and all other random draws; torch's global random numbers are left as
    they were. Processes that ``torchrun`` has started share the batches, and batch normalisation, if any, is that of
    the whole batch.

    Args:
        model: a classifier with an ``encoder``; what needs no gradient is left as it is.
        pixels: the labelled videos.
        rows: positions of those to train on.
        budget: the schedule.
        seed: see above.
        folder: where checkpoints are kept, from which the same training resumes after a stop; None keeps none.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    machine = pixels.machine
    with (
        joined(),
        quiet(),
        torch.random.fork_rng([torch.cuda.current_device()] if machine.target.type == "cuda" else []),
    ):
        module = ClassifierTraining(model.train(), pixels, budget, len(rows), seed)
        steps = module.timetable.steps
        checkpoint = None if folder is None else from_first(latest(folder), "a checkpoint")
        if checkpoint is not None:
            tell(f"training goes on from step {int(checkpoint.stem[5:])} of {steps}")
        engine = L.Trainer(
            **_devices(machine),
            max_steps=steps,
            max_epochs=1,
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            logger=False,
            plugins=[VerifiedCheckpoints(), *([SyncNorms()] if world() > 1 else [])],
            callbacks=[
                *([PlainProgress()] if rank() == 0 else []),
                *([] if folder is None else [Checkpointing(folder, MINUTES, at_end=False)]),
            ],
        )
        loader = TrainingLoader(LabelledClips(pixels, budget, seed), rows, steps, rank(), world())
        engine.fit(module, loader, ckpt_path=checkpoint)
        module.watch.read()
        if module.average is not None:
            model.load_state_dict(module.average.networks["model"].state_dict())
        model.to(machine.target)
        found: list[float] = module.whole_losses().tolist()
        return found


def _devices(machine: Machine) -> dict[str, Any]:
    """Return the Trainer's arguments that say where it computes."""
    kind = "gpu" if machine.target.type == "cuda" else machine.target.type
    if world() == 1:
        single = [machine.target.index or 0] if kind == "gpu" else 1
        return {"accelerator": kind, "devices": single, "num_nodes": 1}
    # Encoders may have parts that only pretraining uses; running statistics are those of the whole batch anyway.
    strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    there = local_world()
    return {"accelerator": kind, "devices": there, "num_nodes": world() // there, "strategy": strategy}


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Lightning says of itself at the start of every training."""
    quiet_lightning()
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
