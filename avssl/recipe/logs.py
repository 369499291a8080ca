"""Logs of a run: ``metrics.csv``, and a progress bar or plain lines."""

from __future__ import annotations

import csv
import io
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from avssl.runtime.files import write_text


class MetricsCSV(Logger):
    """CSV file with one row per logged step and one column per metric; a resumed run drops rows after its ``step``."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        self.path = path
        self.columns = ["step"]
        rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._write(rows)

    @property
    def name(self) -> str:
        """Unused: the file is in the run's folder."""
        return ""

    @property
    def version(self) -> str:
        """Unused: the file is in the run's folder."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Do nothing: the run's folder holds the whole config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row; a metric seen for the first time adds a column."""
        row = {"step": step, **{name: repr(value) for name, value in metrics.items() if name != "epoch"}}
        if set(row) <= set(self.columns):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows: list[dict[str, Any]] = list(csv.DictReader(file))
            self._write([*rows, row])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.columns += [name for name in row if name not in self.columns]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())


class PlainProgress(Callback):
    """Progress in plain lines every few seconds, for log files and pipes."""

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds = seconds
        self.began = self.told = 0.0
        self.first_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.began = self.told = time.monotonic()
        self.first_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Print step, speed, time left and the metrics last logged."""
        now = time.monotonic()
        if now - self.told < self.seconds:
            return
        self.told = now
        speed = (trainer.global_step - self.first_step) / (now - self.began)
        left = (trainer.max_steps - trainer.global_step) / speed
        values = "  ".join(f"{name} {value:.4g}" for name, value in shown(pl_module).items())
        done = f"step {trainer.global_step}/{trainer.max_steps}  {speed:.2f} steps/s"
        print(f"{done}  {left / 60:.1f} min left  {values}", flush=True)


class Bar(RichProgressBar):
    """Progress bar that shows the metrics last logged: to read one in each step would be to wait for the device."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the metrics to show."""
        return {name: f"{value:.3f}" for name, value in shown(pl_module).items()}


def shown(module: LightningModule) -> dict[str, float]:
    """Return what a run shows of its last logged step."""
    found: dict[str, float] = module.shown
    return found


def progress() -> dict[str, Any]:
    """Return the Trainer's arguments for a progress bar on a terminal, plain lines elsewhere."""
    bar = sys.stdout.isatty()
    return {"enable_progress_bar": bar, "callbacks": [Bar(leave=True) if bar else PlainProgress()]}


NOISE = ("💡", "`weights_only` was not", "`Trainer.fit` stopped", "\nDetected KeyboardInterrupt")
WARNINGS = (
    "You have overridden `transfer_batch_to_device`",
    "isinstance.treespec, LeafSpec.",
    "in eval mode at the start of training",  # as momentum encoders always are
)


def quiet_lightning() -> None:
    """Silence Lightning's advertisements, and its warnings about choices that are deliberate here."""
    for name in ("utilities.rank_zero", "trainer.connectors.checkpoint_connector"):
        logger = logging.getLogger(f"lightning.pytorch.{name}")
        logger.addFilter(lambda record: not record.getMessage().startswith(NOISE))
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=f".*{message}")
