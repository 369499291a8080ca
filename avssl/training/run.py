"""A run: a config in, a folder with an exported encoder out. It goes on where it stopped."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from avssl.data.dataset import ClipDataset, Short, key
from avssl.data.index import build_index, open_manifest
from avssl.data.journal import write_text
from avssl.data.loader import ClipLoader, InOrder, Steps
from avssl.data.manifest import Manifest
from avssl.data.parallel import keep_memory
from avssl.data.synthetic import GROUP, VIEW, World, write_world
from avssl.data.transforms import MEAN, STD, ClipTransform
from avssl.encoders import save_encoder
from avssl.evaluation.features import Machine
from avssl.evaluation.protocol import Protocol
from avssl.methods import Method
from avssl.training.checkpoints import Checkpointing, VerifiedCheckpoints, latest
from avssl.training.logs import MetricsCSV, hush, progress
from avssl.training.module import Measured, OptimizerFactory, Pretraining, Schedule, held_out
from avssl.training.probe import OnlineProbe

SYNTHETIC = "synthetic"
WORLDS = {
    SYNTHETIC: World(videos=480),
    "synthetic_views": World(videos=240, views=2),
    "synthetic_depth": World(videos=120, depth=True),
}


@dataclass
class Data:
    """The videos, and how they are read.

    Args:
        transform: what is done to the pixels of a clip.
        root: a folder of videos, a manifest (``.parquet``), a list of these, or a built-in world: ``synthetic``, or
            ``synthetic_views`` with two cameras, or ``synthetic_depth`` with depth maps.
        batch_size: videos a batch, over all processes.
        workers: processes that read videos, for each training process; 0 reads in the training process.
        held_out: share of the groups (of the videos, where there are no groups) on which the pretext task is measured.
        rounds: times that each held-out video is drawn from in the last measurement.
        short: what becomes of videos that are too short for the method: drop or loop.
        backend: auto, pyav, decord or torchcodec.
        audio_rate: samples of sound a second.
        timeout: seconds after which a worker without an answer is taken to hang.
        max_bad: largest share of videos that can't be read before the run stops.
        labelled: share of the training videos of each class whose label a semi-supervised method is given; all other
            methods are given none.
    """

    transform: ClipTransform
    root: str | list[str] = SYNTHETIC
    batch_size: int = 32
    workers: int = 2
    held_out: float = 0.15
    rounds: int = 8
    short: Short = "drop"
    backend: str = "auto"
    audio_rate: int = 16000
    timeout: float = 300.0
    max_bad: float = 0.01
    labelled: float = 1.0

    def items(self, videos: Manifest, method: Method, seed: int, labelled: float) -> ClipDataset:
        """What a method is shown of some videos; of their labels nothing, unless it is semi-supervised."""
        return ClipDataset(
            videos,
            method.sampler,
            self.transform,
            method.labeller,
            self.audio_rate,
            seed,
            self.short,
            self.backend,
            labelled if method.uses_labels else 0.0,
        )

    def open(self) -> Manifest:
        """The whole collection; the synthetic world is written first where it is not there yet."""
        roots = [self.root] if isinstance(self.root, str) else self.root
        return open_manifest([synthetic(WORLDS[root]) if root in WORLDS else Path(root) for root in roots])


def synthetic(world: World) -> Path:
    """What to open of a built-in world: its folder, or the index that says which of its recordings belong together."""
    folder = write_world(world)
    if world.views == 1:
        return folder
    index = folder / "videos.parquet"
    build_index(folder, index, group=GROUP, view=VIEW)
    return index


def split(videos: Manifest, share: float, seed: int = 0) -> tuple[Manifest, Manifest]:
    """Training and held-out videos; no group (no file, where there are no groups) is in both.

    Args:
        videos: the collection.
        share: of the groups that is held out.
        seed: of the draw.

    Raises:
        ValueError: where one side would be empty.
    """
    groups = np.asarray(videos.column("group"), dtype=object)
    paths = np.asarray(videos.column("path"), dtype=object)
    names = np.where(groups == None, paths, groups).astype(str)  # noqa: E711 (elementwise)
    unique = sorted(set(names))
    count = round(share * len(unique))
    if not 0 < count < len(unique):
        raise ValueError(
            f"data.held_out={share} of {len(unique)} groups leaves {len(unique) - count} to train on and {count} to "
            "measure on; both must be at least 1"
        )
    drawn = torch.randperm(len(unique), generator=torch.Generator().manual_seed(key(seed)))[:count]
    measured = np.isin(names, [unique[place] for place in drawn.tolist()])
    return videos.select(np.flatnonzero(~measured)), videos.select(np.flatnonzero(measured))


class Loaders(L.LightningDataModule):
    """The batches of a run.

    Args:
        data: the config.
        method: says which seconds it needs.
        steps: of the whole run.
        seed: decides every batch.
        folder: of the run, where unreadable files are kept note of.
    """

    def __init__(self, data: Data, method: Method, steps: int, seed: int, folder: Path) -> None:
        super().__init__()
        self.data, self.steps, self.seed, self.folder = data, steps, seed, folder
        videos = data.open()
        training, measured = split(videos, data.held_out)
        self.fingerprint = videos.fingerprint
        self.training, self.measured = (
            data.items(part, method, seed + side, labelled)
            for side, (part, labelled) in enumerate(((training, data.labelled), (measured, 1.0)))
        )
        dropped = self.training.dropped + self.measured.dropped
        alone = self.training.alone + self.measured.alone
        self.summary = (
            f"{len(self.training)} videos to train on, {len(self.measured)} held out"
            + (f", {dropped} shorter than {method.sampler.seconds:.2f} s left out" if dropped else "")
            + (f", {alone} videos without another camera left out" if alone else "")
            + (f", {len(videos.rejected)} unreadable" if len(videos.rejected) else "")
        )

    def train_dataloader(self) -> ClipLoader:
        """This rank's share of every batch of the run."""
        trainer = self.trainer
        assert trainer is not None
        steps = Steps(
            len(self.training),
            self.data.batch_size,
            self.steps,
            seed=self.seed,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        return self._loader(self.training, steps, f"quarantine.rank{trainer.global_rank}.jsonl")

    def measuring(self, rounds: int) -> ClipLoader:
        """Every held-out video ``rounds`` times, with other draws each time."""
        batches = InOrder(len(self.measured), self.data.batch_size, rounds)
        return self._loader(self.measured, batches, "quarantine.held_out.jsonl")

    def _loader(self, dataset: ClipDataset, batches: Steps | InOrder, quarantine: str) -> ClipLoader:
        return ClipLoader(
            dataset,
            batches,
            self.data.workers,
            self.data.timeout,
            self.folder / quarantine,
            self.data.max_bad,
            pin_memory=torch.cuda.is_available(),
        )


class Metrics(L.Callback):
    """Logs what training and held-out videos say, under the number of steps done.

    ``train/<metric>`` and ``val/<metric>`` are the method's, ``val/collapse/*`` those of `avssl.evaluation.collapse`,
    ``probe/top1`` the online probe's.

    It stands before `Checkpointing`, so that whatever a checkpoint counts as done has been logged.

    Args:
        loaders: where the held-out videos come from.
        every: steps between two measurements on held-out videos.
        probe: measures the encoder on labelled videos at the same steps.
    """

    def __init__(self, loaders: Loaders, every: int, probe: OnlineProbe | None) -> None:
        self.loaders, self.every, self.probe = loaders, every, probe

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Measure and log on the first rank; the others meet it at the next step."""
        assert isinstance(pl_module, Pretraining)
        step = trainer.global_step
        if not trainer.is_global_zero:
            return
        values: dict[str, float] = {}
        if step % trainer.log_every_n_steps == 0 or step == trainer.max_steps:
            values |= {f"train/{name}": value.item() for name, value in pl_module.latest.items()}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        if step % self.every == 0 and step < trainer.max_steps:
            measured = held_out(pl_module, self.loaders.measuring(rounds=1))
            values |= {f"val/{name}": value.mean for name, value in measured.metrics.items()}
            values |= {f"val/collapse/{name}": value for name, value in measured.collapse.items()}
            if self.probe is not None:
                values["probe/top1"] = self.probe(pl_module.method.encoder, pl_module.device)
        for logger in trainer.loggers if values else []:
            logger.log_metrics(values, step)


def pretrain(
    name: str,
    method: Method,
    data: Data,
    optimizer: OptimizerFactory,
    trainer: dict[str, Any],
    schedule: Schedule = "cosine",
    warmup: float = 0.05,
    seed: int = 0,
    measure_every: int = 200,
    checkpoint_minutes: float = 2.0,
    runs: str = "runs",
    probe: Protocol | None = None,
) -> dict[str, Measured]:
    """Train an encoder without labels, measure the pretext task on held-out videos, export the encoder.

    Args:
        name: of the run; its folder is ``<runs>/<name>``. A run that was stopped goes on from its last checkpoint.
        method: the pretext task.
        data: the videos, and how they are read.
        optimizer: its class and arguments.
        trainer: arguments of Lightning's Trainer; ``max_steps`` is the length of the run.
        schedule: of the learning rate: cosine or constant.
        warmup: share of the steps over which the learning rate rises.
        seed: of the weights, of the order of the videos and of everything drawn from them.
        measure_every: steps between two measurements on held-out videos.
        checkpoint_minutes: between two checkpoints.
        runs: the folder of all runs.
        probe: a labelled set on which a linear probe is measured while training, at the same steps; a config of
            ``tools/evaluate.py``. It never reaches the gradient.

    Returns:
        The metrics of the pretext task on held-out videos.
    """
    began = time.monotonic()
    folder = Path(runs) / name
    folder.mkdir(parents=True, exist_ok=True)
    loaders = Loaders(data, method, trainer["max_steps"], seed, folder)
    checkpoint = latest(folder / "checkpoints")
    step = int(checkpoint.stem[5:]) if checkpoint else 0
    module = Pretraining(method, optimizer, schedule, warmup, seed)
    hush()
    keep_memory()
    told = progress()
    online = None if probe is None else OnlineProbe(probe, method.encoder)
    own = [Metrics(loaders, measure_every, online), Checkpointing(folder / "checkpoints", checkpoint_minutes)]
    engine = L.Trainer(
        **{**trainer, "precision": precision(trainer["precision"])},
        max_epochs=1,  # a run is one long epoch of Lightning's; ours are counted by `Steps`
        limit_val_batches=0,
        use_distributed_sampler=False,
        default_root_dir=folder,
        plugins=[VerifiedCheckpoints()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=told["enable_progress_bar"],
        logger=[
            MetricsCSV(folder / "metrics.csv", step),
            TensorBoardLogger(folder, "tensorboard", "", purge_step=step),
        ],
        callbacks=[*told["callbacks"], *own],
    )
    if engine.is_global_zero:
        print(f"{name}: {loaders.summary}; {step} of {engine.max_steps} steps done", flush=True)
    engine.fit(module, loaders, ckpt_path=checkpoint)
    measured: dict[str, Measured] = {}
    if engine.is_global_zero:
        measured, collapse = held_out(module, loaders.measuring(data.rounds))
        size = data.transform.size
        card = {"run": name, "method": type(method).__name__, "steps": engine.max_steps, "seed": seed}
        card |= {"data": loaders.fingerprint, "mean": MEAN, "std": STD, "size": (size, size)}
        for part, network in method.exports().items():
            save_encoder(network, folder / part, card)
        facts = {"metrics": {metric: value._asdict() for metric, value in measured.items()}, "collapse": collapse}
        write_text(folder / "held_out.json", json.dumps(facts, indent=1))
        report(name, measured, folder, time.monotonic() - began)
        words = ", ".join(f"{what} {value:.3g}" for what, value in collapse.items())
        print(f"embedding of held-out videos ({method.encoder.num_features} features): {words}", flush=True)
    return measured


def report(name: str, measured: dict[str, Measured], folder: Path, seconds: float) -> None:
    """Print what the run reached, beside chance."""
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
    """``auto`` is bfloat16 autocast where the processor has it in hardware, else float32."""
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if Machine().half else "32-true"
