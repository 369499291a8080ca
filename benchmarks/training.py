"""Training speed: a step through Lightning against a bare torch loop, and bfloat16 against float32.

    python benchmarks/training.py [--steps 30] [--rounds 3]

All train the same network on the same batch, held in memory, so only the engine differs. They take turns, and the ratio
is that of the medians over rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as L
import torch

from avssl.clips import Clips
from avssl.data.samplers import NearbyClips
from avssl.encoders import R3D
from avssl.methods import SimCLR
from avssl.pixels import MEAN, STD
from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints
from avssl.recipe.logs import MetricsCSV, quiet_lightning
from avssl.training.module import Pretraining
from avssl.training.run import precision


class Resident:
    """The same batch, repeated."""

    def __init__(self, clips: Clips, steps: int) -> None:
        self.clips, self.steps = clips, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Clips]:
        return iter([self.clips] * self.steps)


def method() -> SimCLR:
    """Return the method of configs/simclr.yaml."""
    torch.manual_seed(0)
    return SimCLR(R3D(16), NearbyClips(8, 0.16), hidden=512)


def bare(clips: Clips, steps: int, bf16: bool) -> float:
    """Return the seconds per step of a plain loop."""
    model = method()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    began = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(clips.normalised(mean, std))["loss"]
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - began) / steps


class Stopwatch(L.Callback):
    """Timer of the steps alone, without set-up and the checkpoint at the end."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self.began


def ours(clips: Clips, steps: int, wanted: str) -> float:
    """Return the seconds per step of the training command's engine, with its callbacks and logs."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        engine = L.Trainer(
            max_steps=steps,
            max_epochs=1,
            precision=precision(wanted),
            accelerator="cpu",
            log_every_n_steps=10,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_model_summary=False,
            plugins=[VerifiedCheckpoints()],
            logger=[MetricsCSV(Path(folder) / "metrics.csv", 0)],
            enable_progress_bar=False,
            callbacks=[Checkpointing(Path(folder)), watch],
        )
        module = Pretraining(method(), lambda parameters: torch.optim.AdamW(parameters, 1e-3))
        engine.fit(module, Resident(clips, steps))
    return watch.seconds / steps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    quiet_lightning()
    video = torch.randint(0, 256, (16, 2, 8, 3, 64, 64), dtype=torch.uint8)
    clips = Clips(video, torch.rand(16, 2, 8).double())
    contestants = {
        "bare, bfloat16": lambda: bare(clips, options.steps, True),
        "ours, bfloat16": lambda: ours(clips, options.steps, "bf16-mixed"),
        "ours, float32": lambda: ours(clips, options.steps, "32-true"),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(options.rounds + 1):  # the first round warms up
        for name, run in contestants.items():
            times[name].append(run())
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:16} {1e3 * seconds:8.1f} ms per step")
    print(f"ours over bare   {medians['ours, bfloat16'] / medians['bare, bfloat16']:8.3f}")
    print(f"float32 over bf16{medians['ours, float32'] / medians['ours, bfloat16']:8.2f}")


if __name__ == "__main__":
    main()
