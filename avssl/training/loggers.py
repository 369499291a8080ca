"""Lightning's loggers (W&B, MLflow, Comet, ...) beside the run's own ``metrics.csv``.

Rows reach them when a checkpoint covers them, so that a run that is killed and resumed logs no step twice:

1. ``metrics.csv`` is the exact record. At each checkpoint its new rows are forwarded, then ``loggers.json`` notes the
   step. Only a kill between the two forwards the same rows again.
2. A resumed run continues the same experiment: the id under which each logger logged before is given to it again.
3. A logger that begins anew all the same (`CSVLogger` deletes its file; another id was given) gets every row.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, Logger

from avssl.runtime.files import write_text

KEPT = "loggers.json"
IDS = ("version", "id", "run_id", "experiment_key")  # arguments by which loggers continue an experiment


class Forwarding(L.Callback):
    """Forwards the rows of ``metrics.csv`` to loggers, and once the hyper-parameters; on the first rank only.

    Both are in the run's ``folder``; the hyper-parameters are those of its ``config.yaml``.
    """

    def __init__(self, loggers: Sequence[Logger], folder: Path) -> None:
        self.loggers, self.folder = loggers, folder
        self.steps: list[int] = []  # last step forwarded to each logger

    def begin(self, step: int) -> None:
        """Continue or begin each experiment, up to the step from which the run resumes."""
        kept, config = _kept(self.folder), self.folder / "config.yaml"
        for place, logger in enumerate(self.loggers):
            before = kept[place] if place < len(kept) else {}
            same = before.get("version") == logger.version and before.get("class") == type(logger).__name__
            self.steps.append(before["step"] if same and not isinstance(logger, CSVLogger) else -1)
            if self.steps[-1] < 0 and config.exists():
                logger.log_hyperparams(yaml.safe_load(config.read_text(encoding="utf-8")))
        self.forward(step)

    def forward(self, step: int) -> None:
        """Forward what is new up to a step that a checkpoint holds."""
        if not self.loggers:
            return
        with (self.folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [(int(row.pop("step")), row) for row in csv.DictReader(file)]
        for logger, done in zip(self.loggers, self.steps, strict=True):
            for number, row in rows:
                if done < number <= step:
                    logger.log_metrics({name: float(value) for name, value in row.items() if value}, number)
            logger.save()
        self.steps = [step] * len(self.loggers)
        kept = [{"class": type(logger).__name__, "version": logger.version, "step": step} for logger in self.loggers]
        write_text(self.folder / KEPT, json.dumps(kept, default=str))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the experiments of a finished run."""
        self._finalize(trainer, "success")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the experiments of a run that stopped early."""
        self._finalize(trainer, "failed")

    def _finalize(self, trainer: L.Trainer, status: str) -> None:
        for logger in self.loggers if trainer.is_global_zero else []:
            logger.finalize(status)


def continue_experiments(loggers: Sequence[Namespace], folder: Path) -> None:
    """Give loggers without an id the one under which they logged this run before.

    Changes the ``init_args`` of ``loggers``, each of which is a parsed ``class_path`` and ``init_args``.
    """
    for logger, before in zip(loggers, _kept(folder), strict=False):
        ids = [name for name in IDS if name in logger.init_args]
        if ids and before["class"] == logger.class_path.rpartition(".")[2] and not any(map(logger.init_args.get, ids)):
            logger.init_args[ids[0]] = before["version"]


def _kept(folder: Path) -> list[dict[str, Any]]:
    path = folder / KEPT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
