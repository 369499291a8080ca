"""A run: pretrain a method, resume where it stopped, export its encoder."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from avssl.encoders import Encoder, save_encoder
from avssl.encoders.initial import RANDOM, check_initial
from avssl.evaluation.protocol import Protocol
from avssl.media.regions import WHOLE, noted_region, within
from avssl.methods import Method
from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints, latest
from avssl.recipe.lengths import UNSET, Length, check_length, run_steps
from avssl.recipe.logs import MetricsCSV, progress, quiet_lightning
from avssl.recipe.recipe import PLAIN, Recipe
from avssl.recipe.schedules import Schedule
from avssl.recipe.syncnorm import SyncNorms
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.runtime.locks import only_user
from avssl.runtime.workers import keep_memory
from avssl.training.beginning import begin
from avssl.training.data import Data, Loaders
from avssl.training.lineage import lineage
from avssl.training.loggers import Forwarding
from avssl.training.measuring import HeldOut, Measured, affordable, affordable_at_end, held_out
from avssl.training.module import OptimizerFactory, Pretraining, statistics
from avssl.training.probe import OnlineProbe
from avssl.training.sharding import class_of, whole

RANGES = {  # of the arguments of `pretrain`
    "seed": "[0, 18446744073709551615]",  # torch's
    "epochs": "(0, inf)",
    "measure_every": "[1, inf)",
    "measure_videos": "[2, inf)",
    "measure_share": "[0, 1]",
    "checkpoint_minutes": "[0, inf]",
}
TRAINER_RANGES = {"log_every_n_steps": "[1, inf)"}


class Metrics(L.Callback):
    """Callback that logs training and held-out metrics by the number of steps done.

    ``train/<metric>`` and ``val/<metric>`` are the method's, ``val/collapse/*`` those of `avssl.evaluation.collapse`,
    ``probe/top1`` or ``probe/mAP`` the online probe's; ``every`` is the number of steps between measurements on
    ``videos`` held-out videos. It comes before `Checkpointing`, so that all steps in a checkpoint are logged.
    """

    def __init__(self, loaders: Loaders, every: int, videos: int, probe: OnlineProbe | None) -> None:
        self.loaders, self.every, self.videos, self.probe = loaders, every, videos, probe

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure on all ranks, and log on the first; the others wait for its probe at the next step."""
        assert isinstance(pl_module, Pretraining)
        if not pl_module.ends_step(batch_idx):
            return
        step = trainer.global_step
        values: dict[str, float] = {}
        measured, encoder = None, None
        if step % self.every == 0 and step < trainer.max_steps:
            measured = held_out(pl_module, self.loaders.measuring(1, self.videos))
            encoder = None if self.probe is None else whole(pl_module.method.encoder)
        if not trainer.is_global_zero:
            return
        if step % trainer.log_every_n_steps == 0 or step == trainer.max_steps:
            pl_module.losses.read()
            latest = {name: value.item() for name, value in pl_module.latest.items()}
            pl_module.shown = {name: value for name, value in latest.items() if "/" not in name}
            values |= {f"train/{name}": value for name, value in latest.items()}
            values |= _rates(trainer.optimizers[0].param_groups, pl_module.recipe)
        if measured is not None:
            values |= {f"val/{name}": value.mean for name, value in measured.metrics.items()}
            values |= {f"val/collapse/{name}": value for name, value in measured.collapse.items()}
        if self.probe is not None and isinstance(encoder, Encoder):
            values[f"probe/{self.probe.metric}"] = self.probe(encoder.to(pl_module.device), pl_module.device)
        for logger in trainer.loggers if values else []:
            logger.log_metrics(values, step)


def _rates(groups: list[dict[str, Any]], recipe: Recipe) -> dict[str, float]:
    """Return the highest learning rate of all groups, and the weight decay if it changes."""
    rates = {"lr": max(group["lr"] for group in groups)}
    if recipe.decay_end is not None:
        rates["weight_decay"] = max(group["weight_decay"] for group in groups)
    return rates


def pretrain(
    name: str,
    method: Method,
    data: Data,
    optimizer: OptimizerFactory,
    trainer: dict[str, Any],
    schedule: Schedule = "cosine",
    warmup: Length = 0.05,
    seed: int = 0,
    epochs: float | None = None,
    recipe: Recipe = PLAIN,
    measure_every: int = 200,
    measure_videos: int | None = None,
    measure_share: float = 0.02,
    checkpoint_minutes: float = 2.0,
    runs: str = "runs",
    probe: Protocol | None = None,
    logger: Logger | list[Logger] | None = None,
    initial: str = RANDOM,
) -> dict[str, Measured]:
    """Train an encoder without labels, measure the pretext task on held-out videos, export the encoder.

    Args:
        name: name of the run, whose folder is ``<runs>/<name>``. A stopped run resumes from its last checkpoint.
        method: the pretext task.
        data: the videos, and how they are read.
        optimizer: factory of the optimiser; in a config, its class and arguments.
        trainer: arguments of Lightning's Trainer. ``max_steps`` is the length of the run unless ``epochs`` is given;
            ``precision`` is ``auto`` unless given: bfloat16 autocast if the hardware has it.
        schedule: schedule of the learning rate after the warm-up: along half a cosine or linearly down to
            ``recipe.lr_end``, in steps at ``recipe.lr_steps``, or constant.
        warmup: share of the run over which the learning rate rises, or a number of epochs or steps (``40 epochs``,
            ``12000 steps``).
        seed: seed of the weights, of the order of the videos and of all other random draws.
        epochs: length of the run in passes over the videos, instead of ``trainer.max_steps``. An epoch is cut into full
            batches and leaves out the remainder.
        recipe: details of the learning rate, weight decay, averages and memory.
        measure_every: steps between measurements on held-out videos.
        measure_videos: held-out videos, chosen by the seed, in each of these; by default all of up to 256, and of more
            as many as are ``measure_share`` of the videos that are trained on between two, but at least 128.
        measure_share: share of a run that may be spent on measuring. It also bounds the last measurement, which has at
            least 1024 videos if so many are held out.
        checkpoint_minutes: minutes between checkpoints.
        runs: folder of all runs.
        probe: labelled videos for an online linear probe at the same steps, as a config of ``avssl evaluate``. It never
            reaches the gradient.
        logger: one or several of Lightning's loggers, beside ``metrics.csv`` and TensorBoard; see
            `avssl.training.loggers`.
        initial: where the encoder's weights begin: random, kmeans (of what the run's first videos show it),
            mean_var:RUN or first_K:RUN; see `avssl.encoders.begin_with`.

    Returns:
        The pretext task's metrics on held-out videos; on ranks other than the first, nothing.

    Raises:
        ValueError: if a value is out of range, or the collection is not the one with which the run was begun.
        InUse: if another process is training in the run's folder.
    """
    check_ranges("", locals(), **RANGES)
    check_ranges("trainer", trainer, **TRAINER_RANGES)
    check_length("warmup", warmup)
    check_initial(initial)
    began = time.monotonic()
    folder = Path(runs) / name
    with sole_writer(folder):
        checkpoint = latest(folder / "checkpoints")
        step = int(checkpoint.stem[5:]) if checkpoint else 0
        loaders = Loaders(data, method, 0, seed, folder, step > 0, recipe.accumulate)
        loaders.steps = run_steps(trainer.get("max_steps", UNSET), epochs, loaders.per_epoch)
        if checkpoint is None:
            begin(method, initial, loaders.datasets.training, seed)
        module = Pretraining(method, optimizer, schedule, warmup, seed, recipe, data.batch_size, loaders.per_epoch)
        quiet_lightning()
        keep_memory()
        told = progress()
        others = Forwarding(logger if isinstance(logger, list) else [logger] if logger else [], folder)
        checkpointing = Checkpointing(folder / "checkpoints", checkpoint_minutes, after=others.forward)
        there, per_step = len(loaders.datasets.held_out), data.batch_size * recipe.accumulate
        some = min(there, measure_videos or affordable(there, measure_every * per_step, measure_share))
        at_end = affordable_at_end(there, loaders.steps * per_step, measure_share, data.rounds)
        metrics = Metrics(loaders, measure_every, some, None if probe is None else OnlineProbe(probe, method.encoder))
        engine = L.Trainer(
            **{
                **{"log_every_n_steps": 10, **trainer, "precision": precision(trainer.get("precision", "auto"))},
                **{"max_steps": loaders.steps, "accumulate_grad_batches": recipe.accumulate},
            },
            max_epochs=1,  # a run is one long epoch of Lightning's; ours are counted by `Steps`
            limit_val_batches=0,
            use_distributed_sampler=False,
            default_root_dir=folder,
            plugins=[VerifiedCheckpoints(), *([SyncNorms()] if trainer.get("sync_batchnorm") else [])],
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=told["enable_progress_bar"],
            logger=[
                MetricsCSV(folder / "metrics.csv", step),
                TensorBoardLogger(folder, "tensorboard", "", purge_step=step),
            ],
            callbacks=[*told["callbacks"], metrics, checkpointing, others],
        )
        if engine.is_global_zero:
            loaders.datasets.split.write(folder)
            print(f"{name}: {loaders.datasets}; {step} of {engine.max_steps} steps done", flush=True)
            if some < there:
                print(f"{some} of {there} held-out videos are measured every {measure_every} steps", flush=True)
            others.begin(step)
        engine.fit(module, loaders, ckpt_path=checkpoint)
        module.to(engine.strategy.root_device)
        measured = finish(name, module, loaders, folder, at_end)
        if measured is None:
            return {}
        report(name, measured.metrics, folder, time.monotonic() - began)
        words = ", ".join(f"{what} {value:.3g}" for what, value in measured.collapse.items())
        if measured.videos < measured.of:
            print(f"measured over {measured.videos} of {measured.of} held-out videos (measure_share)", flush=True)
        print(f"embedding of held-out videos ({method.encoder.num_features} features): {words}", flush=True)
        return measured.metrics


def sole_writer(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keep other runs out of a run's folder; the ranks of this one share what the first of them holds."""
    return contextlib.nullcontext() if rank_zero_only.rank else only_user(folder)


def finish(name: str, module: Pretraining, loaders: Loaders, folder: Path, most: int) -> HeldOut | None:
    """Measure a trained method on ``most`` held-out videos; write the result and the networks into the run's folder.

    All ranks must call it; only the first writes, and gets the result.
    """
    measured = held_out(module, loaders.measuring(loaders.data.rounds, most))
    size, method = loaders.data.transform.size, module.method
    card = {"run": name, "method": class_of(method).__name__, "steps": loaders.steps, "seed": module.seed}
    mean, std = statistics(method.encoder)
    card |= {"data": loaders.datasets.videos.fingerprint, "mean": mean, "std": std, "size": (size, size)}
    seen, shown = loaders.data.transform.seen, {noted_region(root) for root in loaders.datasets.videos.roots}
    regions = shown if seen == WHOLE else {within(part, seen) for part in shown}
    if len(regions) == 1 and regions != {WHOLE}:
        card["region"] = list(*regions)
    card |= lineage(method.encoder, loaders.datasets.held_out)
    average = module.average
    for part, network in method.exports().items():
        made = {part if average is None else f"{part}_raw": (network, card)}
        if average is not None:
            made[part] = average[part], {**card, "average": average.decay}
        for place, (one, words) in made.items():
            if (complete := whole(one)) is not None:
                save_encoder(complete, folder / place, words)
    if measured is not None:
        metrics = {metric: value._asdict() for metric, value in measured.metrics.items()}
        write_text(folder / "held_out.json", json.dumps({**measured._asdict(), "metrics": metrics}, indent=1))
    return measured


def report(name: str, measured: dict[str, Measured], folder: Path, seconds: float) -> None:
    """Print the held-out metrics beside chance."""
    print(f"{name} on held-out videos (mean over videos, 95 % interval):")
    table = Table()
    for heading in ("metric", "value", "interval", "chance"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for metric, value in measured.items():
        if metric != "loss" and not metric.startswith("chance/"):
            chance = measured.get(f"chance/{metric}")
            interval = f"{value.low:.3f} to {value.high:.3f}"
            table.add_row(metric, f"{value.mean:.3f}", interval, f"{chance.mean:.3f}" if chance else "")
    Console(width=100).print(table)
    print(f"{seconds / 60:.1f} min; encoder in {folder / 'encoder'}", flush=True)


def precision(wanted: str) -> str:
    """Return Lightning's precision; ``auto`` is bfloat16 autocast if the hardware has it, else float32."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if Machine().half else "32-true"
