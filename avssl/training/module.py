"""The training step of a method as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.methods import Method
from avssl.pixels import MEAN, STD
from avssl.runtime.seeds import key

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
Schedule = Literal["cosine", "constant"]


def statistics(encoder: Encoder) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and standard deviation of the pixels that an encoder expects, per channel.

    They are those on its card if it was loaded; for a new network, those of Kinetics-400.
    """
    return encoder.card.get("mean", MEAN), encoder.card.get("std", STD)


class Pretraining(L.LightningModule):
    """A method in training; see `avssl.training.pretrain` for the arguments.

    Seed, step and rank determine all random numbers of ``method.forward``. The learning rate rises from zero, then
    follows half a cosine down to zero or stays constant.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        method: Method,
        optimizer: OptimizerFactory,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.method, self.optimizer, self.schedule, self.warmup, self.seed = method, optimizer, schedule, warmup, seed
        self.latest: dict[str, Tensor] = {}  # of the last step, for the logs
        mean, std = statistics(method.encoder)
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return the method's loss and metrics for a batch of uint8 clips on this device."""
        return self.method(clips.normalised(self.mean, self.std))

    def on_fit_start(self) -> None:
        """Set training mode: an encoder that was loaded comes in eval mode, in which Lightning would leave it."""
        self.train()

    def training_step(self, clips: Clips, batch_index: int) -> Tensor:
        """Return the loss; its random numbers do not depend on earlier steps, so that a resumed run is exact."""
        torch.manual_seed(key(self.seed, self.trainer.global_step, self.trainer.global_rank))
        out = self(clips)
        self.latest = {name: value.detach().float().mean() for name, value in out.items()}
        for name, value in self.latest.items():
            if "/" not in name:
                self.log(name, value, prog_bar=True, logger=False, batch_size=len(clips))
        if not torch.isfinite(out["loss"]):
            raise FloatingPointError(
                f"the loss is {out['loss'].item()} at step {self.trainer.global_step}: lower the learning rate, or use "
                "--trainer.precision=32-true to see whether bfloat16 is too coarse"
            )
        return out["loss"]

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Step the optimiser, then the method's momentum encoders and queues."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.method.after_step((self.trainer.global_step + 1) / self.trainer.max_steps)

    def configure_optimizers(self) -> Any:
        """Return the optimiser over the trainable parameters, and the schedule per step."""
        optimizer = self.optimizer([parameter for parameter in self.parameters() if parameter.requires_grad])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Clips, device: torch.device, dataloader_idx: int) -> Clips:
        """Move clips, which Lightning does not know."""
        return batch.to(device)

    def _rate(self, step: int) -> float:
        total = self.trainer.max_steps
        rising = max(1, round(self.warmup * total))
        if step < rising:
            return (step + 1) / rising
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
