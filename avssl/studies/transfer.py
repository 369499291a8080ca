"""Every method of a plan, pretrained under one budget, judged by transfer and tabulated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from avssl.runtime.files import write_text
from avssl.studies.plans import Plan, check_settings
from avssl.studies.pretraining import pretrain, run_measured
from avssl.studies.sets import SetsPlan, run_sets
from avssl.studies.tables import plan_tables

KEPT = ("cost.json", "held_out.json", "encoder/encoder.json", "eval/*/results.json", "sync_*.json")


def run_plan(
    plan: Path,
    out: Path | None = None,
    only: list[str] | None = None,
    runs: Path = Path("runs"),
    results: Path | None = None,
) -> None:
    """Pretrain, judge and tabulate every method of a plan.

    Results that exist are not made again, and interrupted runs are resumed. The few small files behind the tables are
    kept in ``results/PLAN/METHOD-SEED``, so that runs themselves may be deleted.

    Args:
        plan: a YAML file, see `Plan`; or, over several labelled sets, `avssl.studies.sets.SetsPlan`, which also writes
            a picture, ``results/PLAN/study.png``, and the numbers, ``study.json``.
        out: page whose tables, between ``<!-- PLAN -->`` and ``<!-- end -->``, are replaced.
        only: methods to run, none to print the tables alone; tables hold every result.
        runs: parent folder of the runs, ``runs/PLAN/METHOD-SEED``.
        results: folder of the kept results; by default ``results`` beside the plan.

    Raises:
        ValueError: if the plan is wrong, does not fit kept results, or ``out`` has no place for the tables.
        ChildProcessError: if pretraining or judging fails.
    """
    over_sets = "sets" in (yaml.safe_load(plan.read_text(encoding="utf-8")) or {})
    chosen: Plan | SetsPlan = SetsPlan.read(plan) if over_sets else Plan.read(plan)
    kept = (plan.parent / "results" if results is None else results) / chosen.name
    if unknown := set(only or ()) - set(chosen.methods):
        raise ValueError(f"only: {plan} has no {sorted(unknown)}, its methods are {list(chosen.methods)}")
    if isinstance(chosen, SetsPlan):
        text = run_sets(chosen, only, partial(_run_on_set, runs=runs, kept=kept), kept)
    else:
        for seed in chosen.seeds:
            for method in list(chosen.methods) if only is None else only:
                _run_one(chosen, method, seed, runs / chosen.name, kept)
        text = plan_tables(_done(kept))
    print(text)
    if out is not None:
        before, mark, rest = out.read_text().partition(f"<!-- {chosen.name} -->\n")
        if not mark:
            raise ValueError(f"{out} has no line <!-- {chosen.name} --> to put the tables below")
        write_text(out, f"{before}{mark}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}")


def _done(kept: Path) -> list[Path]:
    return sorted(path.parent for path in kept.glob("*/cost.json"))


def _run_on_set(plan: Plan, method: str, seed: int, runs: Path, kept: Path) -> None:
    """Make the result of a method on a set; ``kept`` is the study's folder, and the plan is called STUDY/SET."""
    _run_one(plan, method, seed, runs / plan.name, kept / Path(plan.name).name)


def _run_one(plan: Plan, method: str, seed: int, folder: Path, kept: Path) -> None:
    name, settings = f"{method}-{seed}", plan.settings(method)
    run = folder / name
    if (kept / name / "cost.json").exists():
        check_settings(kept / name / "cost.json", settings)
        return
    entry = plan.methods[method]
    if "encoder" in entry:  # judged as it is
        videos: Sequence[str] = plan.videos
        named = [f"--encoder={entry['encoder']}", *entry.get("changes", [])]
    else:
        videos, named = plan.prepare_videos(folder), []
        pretrain(run, settings, seed, list(videos), _done(kept))
    places = {"run": run, "videos": ",".join(videos), "labelled": plan.index_labelled(folder)}
    for number, command in enumerate(plan.judge):
        words = [word.format(**places) for word in command.split()[1:]]
        run_measured([*words, *named], run / f"judge{number}.log")
    if named:
        facts: dict[str, Any] = {"cpu_minutes": 0.0, "settings": settings}
        write_text(run / "cost.json", json.dumps(facts))
    for file in (file for pattern in reversed(KEPT) for file in sorted(run.glob(pattern))):  # cost.json last
        facts = json.loads(file.read_text())
        write_text(kept / name / file.relative_to(run), json.dumps(facts, separators=(",", ":")) + "\n")
