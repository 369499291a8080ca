"""The training step of a method as a LightningModule, and its metrics on held-out videos."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.loader import ClipLoader
from avssl.encoders import Encoder
from avssl.evaluation.collapse import monitors
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


class Measured(NamedTuple):
    """A metric on held-out videos: mean over videos, and the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """Metrics of the pretext task on held-out videos, and collapse monitors of the embedding."""

    metrics: dict[str, Measured]
    collapse: dict[str, float]


@torch.no_grad()
def held_out(module: Pretraining, loader: ClipLoader) -> HeldOut:
    """Measure the pretext task and collapse of the encoder on held-out videos, each loaded once or several times.

    Returns:
        For each metric its mean and 95 % interval, from 1000 bootstrap samples of videos (the clips of one video are
        not independent); and `avssl.evaluation.collapse.monitors` of the clips of the first round, empty if there is a
        single video.
    """
    training = module.training
    module.eval()
    values: dict[str, list[Tensor]] = {}
    features: list[Tensor] = []
    videos, seen = len(loader.dataset), 0
    with torch.random.fork_rng(devices=[]), module.trainer.precision_plugin.forward_context():
        for batch, clips in enumerate(loader):
            torch.manual_seed(key(module.seed, batch))
            normal = clips.to(module.device).normalised(module.mean, module.std)
            for name, value in module.method(normal).items():
                values.setdefault(name, []).append(value.float().expand(len(clips)))
            if seen < videos:  # the first round
                found = module.method.encoder(normal.video.flatten(0, 1)).unflatten(0, (len(clips), -1))  # [B, N, D]
                features.append(found[: videos - seen])
                seen += len(clips)
    module.train(training)
    metrics = {name: bootstrap(torch.cat(v).double().cpu().view(-1, videos).mean(0)) for name, v in values.items()}
    return HeldOut(metrics, monitors(torch.cat(features)) if videos > 1 else {})


def bootstrap(values: Tensor, samples: int = 1000) -> Measured:
    """Return the mean of ``[V]`` values and its 95 % bootstrap interval."""
    rng = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(values), (samples, len(values)), generator=rng)
    means = values[chosen].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Measured(values.mean().item(), low, high)
