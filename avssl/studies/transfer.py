"""Every method of a plan, pretrained under one budget, judged by transfer and tabulated."""

from __future__ import annotations

import json
from pathlib import Path

from avssl.runtime.files import write_text
from avssl.studies.plans import Plan, check_settings
from avssl.studies.pretraining import pretrain, run_measured
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
        plan: a YAML file, see `Plan`.
        out: page whose tables, between ``<!-- PLAN -->`` and ``<!-- end -->``, are replaced.
        only: methods to run, none to print the tables alone; tables hold every result.
        runs: parent folder of the runs, ``runs/PLAN/METHOD-SEED``.
        results: folder of the kept results; by default ``results`` beside the plan.

    Raises:
        ValueError: if the plan is wrong, does not fit kept results, or ``out`` has no place for the tables.
        ChildProcessError: if pretraining or judging fails.
    """
    chosen = Plan.read(plan)
    folder, kept = runs / chosen.name, (plan.parent / "results" if results is None else results) / chosen.name
    methods = list(chosen.methods) if only is None else only
    if unknown := set(methods) - set(chosen.methods):
        raise ValueError(f"only: {plan} has no {sorted(unknown)}, its methods are {list(chosen.methods)}")
    for seed in chosen.seeds:
        for method in methods:
            _run_one(chosen, method, seed, folder, kept)
    text = plan_tables(_done(kept))
    print(text)
    if out is not None:
        before, mark, rest = out.read_text().partition(f"<!-- {chosen.name} -->\n")
        if not mark:
            raise ValueError(f"{out} has no line <!-- {chosen.name} --> to put the tables below")
        write_text(out, f"{before}{mark}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}")


def _done(kept: Path) -> list[Path]:
    return sorted(path.parent for path in kept.glob("*/cost.json"))


def _run_one(plan: Plan, method: str, seed: int, folder: Path, kept: Path) -> None:
    name, settings = f"{method}-{seed}", plan.settings(method)
    run = folder / name
    if (kept / name / "cost.json").exists():
        check_settings(kept / name / "cost.json", settings)
        return
    videos = plan.prepare_videos(folder)
    pretrain(run, settings, seed, videos, _done(kept))
    for number, command in enumerate(plan.judge):
        words = [word.format(run=run, videos=",".join(videos)) for word in command.split()[1:]]
        run_measured(words, run / f"judge{number}.log")
    for file in (file for pattern in reversed(KEPT) for file in sorted(run.glob(pattern))):  # cost.json last
        facts = json.loads(file.read_text())
        write_text(kept / name / file.relative_to(run), json.dumps(facts, separators=(",", ":")) + "\n")
