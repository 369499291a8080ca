"""Checkpoints that are written whole or not at all, and never run code when they are read.

Resume policy:

1. A checkpoint is written to a temporary file in its own folder; then its SHA-256 is written; then the file is flushed
   to disk and renamed. A kill at any moment leaves the previous checkpoint intact.
2. A run resumes from the newest checkpoint whose SHA-256 matches; one that does not match is named and skipped.
3. Reading uses ``weights_only=True``: tensors and plain values, never pickled objects.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import CheckpointIO

from avssl.runtime.files import digest_of, flush, growing, write_text

RESUMABLE = 75  # exit status of a run that was asked to stop and can resume (EX_TEMPFAIL)
INTERRUPTED = 130  # exit status after Ctrl-C
STOPPING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)]


class VerifiedCheckpoints(CheckpointIO):
    """Lightning's checkpoint files under the resume policy above."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, then its digest.

        Raises:
            OSError: if it can't be written, as on a full disk; nothing is left behind and older checkpoints stay.
        """
        path = Path(path)
        try:
            with growing(path) as partial:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
                flush(partial)
                write_text(digest_file(path), digest_of(partial))
        except (OSError, RuntimeError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            free = f"{shutil.disk_usage(path.parent).free / 1e9:.2f} GB are free there"
            remedy = "make room, then the same command resumes from the checkpoint before"
            raise OSError(f"{path}: could not be saved ({why}; {free}): {remedy}") from error
        flush(path.parent)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Read a checkpoint without unpickling; raise ValueError if its digest does not match."""
        if not verifies(Path(path)):
            raise ValueError(f"{path}: does not match its SHA-256: damaged, or not written by avssl")
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint and its digest."""
        Path(path).unlink(missing_ok=True)
        digest_file(Path(path)).unlink(missing_ok=True)


class Checkpointing(Callback):
    """Callback that saves every few minutes, at the end (unless told otherwise), and when the run is asked to stop.

    On SIGTERM and SIGUSR1 (a pre-empted job) the run finishes its step, saves and exits with status 75, on Ctrl-C with
    130; a second signal stops it at once. Several processes agree on that, for which the host waits for the device, on
    logged steps only, and go on until then. ``keep`` checkpoints are kept; ``after`` is called on the first rank with
    the step of each.
    """

    def __init__(
        self,
        folder: Path,
        minutes: float = 5.0,
        keep: int = 2,
        after: Callable[[int], None] = lambda step: None,
        at_end: bool = True,
    ) -> None:
        self.folder, self.minutes, self.keep, self.after, self.at_end = folder, minutes, keep, after, at_end
        self.stopping = 0  # exit status, once a signal asks for it
        self.saved = time.monotonic()
        self.before: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers in place of Lightning's, whose processes need no longer agree in every step."""
        loop: Any = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = lambda: None  # it waits for the device, to learn of a signal that we take
        self.saved = time.monotonic()
        for number in STOPPING:
            self.before[number] = signal.signal(number, self._stop)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time; stop if a signal asked for it. Within a step do nothing: its gradients aren't saved."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if trainer.world_size > 1 and trainer.global_step % trainer.log_every_n_steps:
            return
        due = time.monotonic() - self.saved > 60 * self.minutes
        agree: Callable[..., bool] = trainer.strategy.reduce_boolean_decision
        stopping = agree(bool(self.stopping), all=False)
        if agree(stopping or due, all=False):
            self._save(trainer)
        if stopping:
            print(f"stopped at step {trainer.global_step}; the same command resumes from there", flush=True)
            raise SystemExit(self.stopping or RESUMABLE)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, and restore the signal handlers."""
        if self.at_end:
            self._save(trainer)
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopping:
            raise SystemExit(128 + number)
        self.stopping = INTERRUPTED if number == signal.SIGINT else RESUMABLE
        if number == signal.SIGINT:
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without saving\n")

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / f"step-{trainer.global_step:08d}.ckpt")
        self.saved = time.monotonic()
        if trainer.is_global_zero:
            for old in steps_saved(self.folder)[self.keep :]:
                VerifiedCheckpoints().remove_checkpoint(old)
            self.after(trainer.global_step)


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint whose digest matches, or None; print the names of those that do not match."""
    for path in steps_saved(folder):
        if verifies(path):
            return path
        print(f"{path}: does not match its SHA-256, going back to the one before", flush=True)
    return None


def steps_saved(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, newest first."""
    found = [path for path in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d+\.ckpt", path.name)]
    return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)


def verifies(path: Path) -> bool:
    """Return whether a checkpoint matches its digest."""
    file = digest_file(path)
    return file.exists() and file.read_text() == digest_of(path)


def digest_file(path: Path) -> Path:
    """Return the path of a checkpoint's digest."""
    return path.with_name(path.name + ".sha256")
