"""Budgets of CPU time as numbers of steps, the same on every kind of processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from avssl.runtime.configs import find_config
from avssl.studies.plans import check_settings

TRIAL = (10, 40)  # steps of the two short runs from which the CPU time of a step is found
APART = 0.4  # least CPU minutes between the two, as start-up varies by seconds; the second is prolonged until they are
Settings = dict[str, Any]  # what `Plan.settings` returns
Trials = Callable[[dict[str, Any]], tuple[float, float]]  # a plan's entry for a method -> what `fit_cost` returns


def fit_cost(minutes: Callable[[int], float], budget: float) -> tuple[float, float]:
    """Return the CPU minutes of starting up and of one step, found from two short runs.

    ``minutes`` runs a number of steps and returns the CPU minutes that they took. ``budget`` are the CPU minutes that
    the run itself will have.
    """
    first, steps = TRIAL
    short = minutes(first)
    while (longer := minutes(steps)) - short < min(APART, budget / 8):
        steps *= 3
    per_step = (longer - short) / (steps - first)
    return short - first * per_step, per_step


def budgeted_steps(name: str, settings: Settings, bfloat16: bool, kept: list[Path], trials: Trials) -> dict[str, Any]:
    """Return the ``steps`` that a budget of CPU time lasts for, and how they were found; empty without a budget.

    Uses another seed's cost if known; otherwise runs short trials. A seed that was itself given another seed's steps,
    maybe on another kind of processor, passes them on. If the kept results were made on another kind of processor, the
    budget is scaled by what the steps of a `comparable_result` cost here.

    Args:
        name: the run's name, ``METHOD-SEED``.
        settings: what two results of the method must share.
        bfloat16: whether this processor has bfloat16.
        kept: folders of the plan's results.
        trials: measures a method's cost here.
    """
    budget = settings["cpu_budget"]
    if budget is None:
        return {}
    others = [path for path in kept if path.name.rpartition("-")[0] == name.rpartition("-")[0]]
    if others:
        check_settings(others[0] / "cost.json", settings)
        cost, steps = recorded_cost(others[0])
        if "like" in cost and "dearer" not in cost:
            return {"like": others[0].name, "steps": steps}
        return {"like": others[0].name, "steps": int(steps * budget * cost.get("dearer", 1) / cost["cpu_minutes"])}
    facts: dict[str, Any] = {}
    if (like := comparable_result(settings["method"], kept, bfloat16)) is not None:
        facts = {"like": like.name, "dearer": cost_ratio(like, trials)}
    start, per_step = trials(settings["method"])
    return {**facts, "steps": int((budget * facts.get("dearer", 1) - start) / per_step)}


def recorded_cost(kept: Path) -> tuple[dict[str, Any], int]:
    """Return the cost of a kept result and its number of steps."""
    card = json.loads((kept / "encoder/encoder.json").read_text())
    return json.loads((kept / "cost.json").read_text()), card["steps"]


def cost_ratio(like: Path, trials: Trials) -> float:
    """Return the ratio of CPU time here to the recorded CPU time of a `comparable_result`, for the same steps."""
    cost, steps = recorded_cost(like)
    if "dearer" in cost:
        return cost["dearer"]
    start, per_step = trials(cost["settings"]["method"])
    return (start + steps * per_step) / cost["cpu_minutes"]


def comparable_result(method: dict[str, Any], kept: list[Path], bfloat16: bool) -> Path | None:
    """Return the kept result that shows how a step's cost here compares; None if all come from such a processor.

    The time that bfloat16 saves depends on the network, so the result has the method's class of encoder. One that was
    made here, so that its ratio is known, is preferred.

    Raises:
        ValueError: if there is no such result.
    """
    costs = {path: json.loads((path / "cost.json").read_text()) for path in kept}
    own = [path for path in kept if "like" not in costs[path] and "bfloat16" in costs[path]]
    known = [path for path in kept if "dearer" in costs[path] and costs[path]["bfloat16"] == bfloat16]
    if not known and all(costs[path]["bfloat16"] == bfloat16 for path in own):
        return None
    config = yaml.safe_load(find_config(method["config"]).read_text())
    encoder = config["method"]["init_args"]["encoder"]["class_path"]
    for path in [*known, *(path for path in own if costs[path]["bfloat16"] != bfloat16)]:
        card = json.loads((path / "encoder/encoder.json").read_text())
        if card["class"].rpartition(".")[2] == encoder.rpartition(".")[2]:
            return path
    raise ValueError(
        f"{method['config']}: the plan's results were made on a processor with{'out' if bfloat16 else ''} bfloat16, "
        f"where minutes are another number of steps than here, and none of them has a {encoder} to compare with. "
        "Continue on such a processor, or make all results here with --results=FOLDER"
    )
