"""Trainings by the clock: a run of a fixed length is stopped when its time is over, and goes on exactly."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from avssl.recipe.checkpoints import RESUMABLE, steps_saved
from avssl.runtime.locks import LOCK, InUse, only_user

LOOKS = 0.25  # seconds between two looks at a training
GRACE = 60.0  # seconds that a training has to finish its step and save
FIRST = 2  # steps before speed is measured
MEASURED = 6.0  # least seconds over which it is measured
ENDLESS = 10**6  # steps
TOLD = 1500  # characters of the log of a training that failed
Look = Callable[[int], bool]  # given the steps done, whether to go on


class Speed(NamedTuple):
    """Seconds from the start of a training to its first step, and per step."""

    start: float
    step: float

    def steps(self, seconds: float) -> int:
        """Return the steps that fit into some seconds, the start included."""
        return max(1, int((seconds - self.start) / self.step))


class Failed(ChildProcessError):
    """A training that ended with an error; the message is the end of its log."""


def steps_logged(run: Path) -> int:
    """Return the last step in a run's log; 0 if there is none yet."""
    try:
        with (run / "metrics.csv").open("rb") as file:
            file.seek(max(0, (run / "metrics.csv").stat().st_size - 4096))
            last = file.read().decode(errors="replace").rstrip("\n").rpartition("\n")[2]
    except FileNotFoundError:
        return 0
    first = last.partition(",")[0]
    return int(first) if first.isdigit() else 0


def train_for(words: Sequence[str], run: Path, seconds: float, look: Look = lambda steps: True) -> bool:
    """Train for some seconds; return True if the run is then complete, False if it was stopped and can go on.

    Args:
        words: a config and overrides, as for ``avssl train``, that name the run's folder.
        run: that folder.
        seconds: after these, the run is asked to finish its step and to save.
        look: called several times per second with the steps done; the run is also stopped when it returns False.

    Raises:
        Failed: if the training fails.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    _released(run)
    begun, log = time.monotonic(), run.with_suffix(".log")
    command = [sys.executable, "-m", "avssl.applications.advise.trainee", str(os.getpid()), *words]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        stopped = False
        try:
            while process.poll() is None:
                time.sleep(LOOKS)
                if not look(steps_logged(run)) or time.monotonic() - begun > seconds:
                    stopped = True
                    process.terminate()
                    process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        except KeyboardInterrupt:  # which the training has got too
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            raise
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode == 0:
        return True
    if stopped or process.returncode == RESUMABLE:
        return False
    raise Failed(f"{log}: status {process.returncode}\n{log.read_text(errors='replace')[-TOLD:].strip()}")


def _released(run: Path) -> None:
    """Wait for a training that an advice has left behind when it was killed, and which is about to stop."""
    until = time.monotonic() + GRACE
    while (run / LOCK).exists():
        try:
            with only_user(run):
                return
        except InUse:
            if time.monotonic() > until:
                raise
            time.sleep(LOOKS)


def speed_of(words: Sequence[str], run: Path, most: float) -> Speed:
    """Measure the speed of a training by its first steps, for ``most`` seconds; leaves nothing behind.

    Args:
        words: a config and overrides, without a length, that name the run's folder.
        run: that folder.
        most: seconds after which it is given up.

    Raises:
        Failed: if the training fails, or has not made two steps in time.
    """
    shutil.rmtree(run, ignore_errors=True)
    begun = time.monotonic()
    seen: list[tuple[float, int]] = []

    def look(steps: int) -> bool:
        now = time.monotonic()
        if steps >= FIRST and (not seen or steps > seen[-1][1]):
            seen.append((now, steps))
        return len(seen) < 2 or now - seen[0][0] < MEASURED

    train_for([*words, f"--trainer.max_steps={ENDLESS}", "--trainer.log_every_n_steps=1"], run, most, look)
    if len(seen) < 2:
        raise Failed(f"{run.name}: {steps_logged(run)} steps in {most:.0f} s: too slow for this budget")
    shutil.rmtree(run)
    (first, before), (last, after) = seen[0], seen[-1]
    step = (last - first) / (after - before)
    return Speed(max(0.0, first - begun - before * step), step)


def steps_done(run: Path) -> int:
    """Return the step of a run's last checkpoint."""
    found = steps_saved(run / "checkpoints")
    return int(found[0].stem[5:]) if found else 0
