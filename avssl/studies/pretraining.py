"""Pretraining of one method with one seed, in a process whose CPU time is measured."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.studies.budget import budgeted_steps, fit_cost
from avssl.studies.plans import check_settings

BEGUN = "begun.json"  # in a run's folder: the steps it is to have, and its cost so far
EVERY = 10.0  # seconds between two notes of a run's cost so far


def pretrain(run: Path, settings: dict[str, Any], seed: int, roots: list[str], kept: list[Path]) -> None:
    """Train one method with one seed; leaves ``cost.json`` in the run's folder.

    A run that was interrupted is resumed; its cost includes the steps that had to be repeated. ``roots`` are the
    collections of videos, ``kept`` the folders of the plan's results so far.

    Raises:
        ValueError: if it was begun with other settings, or on another kind of processor, whose minutes differ.
    """
    if (run / "cost.json").exists():
        check_settings(run / "cost.json", settings)
        return
    videos = f"--data.root=[{','.join(roots)}]" if len(roots) > 1 else f"--data.root={roots[0]}"

    def command(run: Path, method: dict[str, Any]) -> list[str]:
        words = ["train", method["config"], videos, f"--runs={run.parent}", f"--seed={seed}"]
        return [*words, *method.get("changes", []), f"--name={run.name}"]

    def trials(method: dict[str, Any]) -> tuple[float, float]:
        trial = run.with_name(f"{run.name}-trial")

        def minutes(steps: int) -> float:
            shutil.rmtree(trial, ignore_errors=True)
            return run_measured([*command(trial, method), f"--trainer.max_steps={steps}"], trial / "pretraining.log")

        cost = fit_cost(minutes, settings["cpu_budget"])
        shutil.rmtree(trial)
        return cost

    facts: dict[str, Any] = {"bfloat16": Machine().half, "settings": settings}
    if (run / BEGUN).exists():
        check_settings(run / BEGUN, settings)
        begun = json.loads((run / BEGUN).read_text())
        if begun["bfloat16"] != facts["bfloat16"]:
            kind = "with" if begun["bfloat16"] else "without"
            raise ValueError(f"{run} was begun on a processor {kind} bfloat16: continue there, or delete it")
    else:
        shutil.rmtree(run, ignore_errors=True)
        begun = {"cpu_minutes": 0.0, **facts, **budgeted_steps(run.name, settings, facts["bfloat16"], kept, trials)}
    before = begun["cpu_minutes"]

    def note(minutes: float) -> None:
        begun["cpu_minutes"] = before + minutes
        write_text(run / BEGUN, json.dumps(begun))

    note(0.0)
    steps = [f"--trainer.max_steps={begun['steps']}"] if "steps" in begun else []
    note(run_measured([*command(run, settings["method"]), *steps], run / "pretraining.log", note))
    (run / BEGUN).rename(run / "cost.json")


def run_measured(words: Sequence[str], log: Path, note: Callable[[float], None] | None = None) -> float:
    """Run a command of avssl; return the CPU time, in minutes, of it and of all its descendants.

    Its output is appended to ``log``; ``note`` is called with the minutes so far, every few seconds.

    Raises:
        ChildProcessError: if it fails; the message has the end of its log.
    """
    print("$ avssl", *words, flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    spent: dict[int, float] = {}
    due = time.monotonic()
    command = [sys.executable, "-m", "avssl", *words]
    with log.open("a") as file, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            try:
                for one in (process, *process.children(recursive=True)):
                    spent[one.pid] = max(spent.get(one.pid, 0.0), sum(one.cpu_times()[:2]))
            except psutil.NoSuchProcess:
                pass
            if note is not None and time.monotonic() >= due:
                note(sum(spent.values()) / 60)
                due = time.monotonic() + EVERY
            time.sleep(0.5)
    if process.returncode:
        raise ChildProcessError(f"{log}: status {process.returncode}\n{log.read_text()[-2000:]}")
    return sum(spent.values()) / 60
