"""Pretrain, judge and tabulate every method of a plan; what is already there is not made again, what was begun goes on.

    python avssl/studies/transfer.py benchmarks/ut_interaction.yaml -o docs/results.md

A plan names the unlabelled videos, the seeds, for each method its config and what is changed in it for these videos,
and the commands that judge a run. The processor time of each pretraining is measured and stands in the table. What the
tables are made of is kept in benchmarks/results/PLAN/METHOD-SEED, a few small files a run; runs themselves may be
deleted.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from avssl.evaluation.report import advantage, collect, comparison, markdown
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text

ROOT = Path(__file__).parents[2]
MADE = ("cost.json", "held_out.json", "encoder/encoder.json", "eval/*/results.json", "sync_*.json")
SYNC = ("auc", "accuracy", "auc_other_video", "within_a_frame", "within_200_ms")
WIDE = re.compile(r"R@(10|20|50)|(R@|neigh).*_ordered.*")  # columns that tools/table.py alone shows
BEGUN = "begun.json"  # in a run's folder: how many steps it is to have, and what it has cost so far
TRIAL = (10, 40)  # steps of two short runs, from which the processor time of a step is found
EVERY = 10.0  # seconds between two notes of what a run has cost so far
APART = 0.4  # minutes that the two must differ by, since starting up varies by seconds; else the second is made longer


def main() -> None:
    """Make what is missing, print the tables, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="a YAML file, see benchmarks/ut_interaction.yaml")
    parser.add_argument(
        "-o", "--out", type=Path, help="page whose tables, between <!-- PLAN --> and <!-- end -->, change"
    )
    parser.add_argument("--only", nargs="*", help="methods to run, none to print what is there; tables hold all of it")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="runs are RUNS/PLAN/METHOD-SEED")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results", help="what is kept of them")
    args = parser.parse_args()
    plan = yaml.safe_load(args.plan.read_text())
    folder, results = args.runs / args.plan.stem, args.results / args.plan.stem
    for seed in plan["seeds"]:
        for name in plan["methods"] if args.only is None else args.only:
            run, kept = folder / f"{name}-{seed}", results / f"{name}-{seed}"
            method = plan["methods"][name]
            settings = {"method": method, "cpu_budget": method.get("cpu_minutes", plan.get("cpu_minutes"))}
            if (kept / "cost.json").exists():
                check_same(kept / "cost.json", settings)
                continue
            videos = prepared(plan, folder)
            pretrain(run, settings, seed, videos, sorted(path.parent for path in results.glob("*/cost.json")))
            for number, words in enumerate(plan["judge"]):
                command = [word.format(run=run, videos=",".join(videos)) for word in words.split()]
                measured([sys.executable, *command], run / f"judge{number}.log")
            for file in (file for pattern in reversed(MADE) for file in sorted(run.glob(pattern))):
                facts = json.loads(file.read_text())
                write_text(kept / file.relative_to(run), json.dumps(facts, separators=(",", ":")) + "\n")
    text = tables(sorted(path.parent for path in results.glob("*/cost.json")))
    print(text)
    if args.out is not None:
        before, mark, rest = args.out.read_text().partition(f"<!-- {args.plan.stem} -->\n")
        if not mark:
            raise SystemExit(f"{args.out} has no line <!-- {args.plan.stem} --> to put the tables below")
        write_text(args.out, f"{before}{mark}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}")


def prepared(plan: dict[str, Any], folder: Path) -> list[str]:
    """What a plan trains on: manifests of training-ready copies; the folders themselves where it makes none."""
    if "prepare" not in plan:
        return plan["videos"]
    words = [f"--{name}={value}" for name, value in plan["prepare"].items()]
    made = []
    for source in plan["videos"]:
        out = folder / "videos" / Path(source).name
        if not (out / "videos.parquet").exists():
            if "group" in plan:
                groups = out.with_suffix(".parquet")
                index = ["tools/index.py", source, "-o", str(groups), f"--group={plan['group']}"]
                measured([sys.executable, *index], out.with_suffix(".log"))
                source = str(groups)
            measured([sys.executable, "tools/prepare.py", source, "-o", str(out), *words], out.with_suffix(".log"))
        made.append(str(out / "videos.parquet"))
    return made


def check_same(cost: Path, settings: dict[str, Any]) -> None:
    """Refuse a result that was made with other settings than the plan's.

    Raises:
        SystemExit: naming the folder to delete.
    """
    made = json.loads(cost.read_text())["settings"]
    if made != settings:
        raise SystemExit(f"{cost.parent} was made with {made}, the plan says {settings}: delete it to make it anew")


def pretrain(run: Path, settings: dict[str, Any], seed: int, roots: list[str], kept: list[Path]) -> None:
    """Train one method with one seed; leaves ``cost.json`` in the run's folder.

    A run that was broken off goes on. What it cost before counts, the steps that are made again included.

    Raises:
        SystemExit: where it was begun with other settings, or on another kind of processor, whose minutes are others.
    """
    if (run / "cost.json").exists():
        check_same(run / "cost.json", settings)
        return
    videos = f"--data.root=[{','.join(roots)}]" if len(roots) > 1 else f"--data.root={roots[0]}"

    def command(run: Path, method: dict[str, Any]) -> list[str]:
        words = [sys.executable, "tools/train.py", method["config"], videos, f"--runs={run.parent}", f"--seed={seed}"]
        return [*words, *method.get("changes", []), f"--name={run.name}"]

    def trials(method: dict[str, Any]) -> tuple[float, float]:
        """Minutes of starting up and of one step."""
        trial = run.with_name(f"{run.name}-trial")

        def minutes(steps: int) -> float:
            shutil.rmtree(trial, ignore_errors=True)
            return measured([*command(trial, method), f"--trainer.max_steps={steps}"], trial / "pretraining.log")

        first, steps = TRIAL
        short = minutes(first)
        while (longer := minutes(steps)) - short < min(APART, settings["cpu_budget"] / 8):
            steps *= 3
        shutil.rmtree(trial)
        a_step = (longer - short) / (steps - first)
        return short - first * a_step, a_step

    facts: dict[str, Any] = {"bfloat16": Machine().half, "settings": settings}
    if (run / BEGUN).exists():
        check_same(run / BEGUN, settings)
        begun = json.loads((run / BEGUN).read_text())
        if begun["bfloat16"] != facts["bfloat16"]:
            kind = "with" if begun["bfloat16"] else "without"
            raise SystemExit(f"{run} was begun on a processor {kind} bfloat16: go on there, or delete it to begin anew")
    else:
        shutil.rmtree(run, ignore_errors=True)
        begun = {"cpu_minutes": 0.0, **facts, **budgeted(run.name, settings, facts["bfloat16"], kept, trials)}
    before = begun["cpu_minutes"]

    def keep(minutes: float) -> None:
        begun["cpu_minutes"] = before + minutes
        write_text(run / BEGUN, json.dumps(begun))

    keep(0.0)
    words = [f"--trainer.max_steps={begun['steps']}"] if "steps" in begun else []
    keep(measured([*command(run, settings["method"]), *words], run / "pretraining.log", keep))
    (run / BEGUN).rename(run / "cost.json")


def budgeted(
    name: str,
    settings: dict[str, Any],
    fast: bool,
    kept: list[Path],
    trials: Callable[[dict[str, Any]], tuple[float, float]],
) -> dict[str, Any]:
    """For how many ``steps`` the budget of ``cpu_minutes`` lasts, and how that was found; empty without a budget.

    What the result of another seed cost tells, or else short trials do; one that was itself given the steps of another
    seed, maybe of another kind of processor, hands them on. On another kind of processor than the results in ``kept``,
    the budget is what a `comparable` one costs here.
    """
    budget = settings["cpu_budget"]
    if budget is None:
        return {}
    others = [path for path in kept if path.name.rpartition("-")[0] == name.rpartition("-")[0]]
    if others:
        check_same(others[0] / "cost.json", settings)
        cost, steps = spent(others[0])
        if "like" in cost and "dearer" not in cost:
            return {"like": others[0].name, "steps": steps}
        return {"like": others[0].name, "steps": int(steps * budget * cost.get("dearer", 1) / cost["cpu_minutes"])}
    facts: dict[str, Any] = {}
    if (like := comparable(settings["method"], kept, fast)) is not None:
        facts = {"like": like.name, "dearer": dearer(like, trials)}
    start, a_step = trials(settings["method"])
    return {**facts, "steps": int((budget * facts.get("dearer", 1) - start) / a_step)}


def spent(kept: Path) -> tuple[dict[str, Any], float]:
    """What a kept result cost, and for how many steps."""
    card = json.loads((kept / "encoder/encoder.json").read_text())
    return json.loads((kept / "cost.json").read_text()), card["steps"]


def dearer(like: Path, trials: Callable[[dict[str, Any]], tuple[float, float]]) -> float:
    """How many times as many minutes as it took the steps of a `comparable` result take here."""
    cost, steps = spent(like)
    if "dearer" in cost:
        return cost["dearer"]
    start, a_step = trials(cost["settings"]["method"])
    return (start + steps * a_step) / cost["cpu_minutes"]


def comparable(method: dict[str, Any], kept: list[Path], fast: bool) -> Path | None:
    """The kept result that tells how much dearer a step is here; None where they were made on this kind of processor.

    What bfloat16 saves depends on the network: the result is one of the same class of encoder, and rather one made
    here, for which it was found out already.

    Raises:
        SystemExit: where there is none.
    """
    made = {path: json.loads((path / "cost.json").read_text()) for path in kept}
    measured = [path for path in kept if "like" not in made[path] and "bfloat16" in made[path]]
    known = [path for path in kept if "dearer" in made[path] and made[path]["bfloat16"] == fast]
    if not known and all(made[path]["bfloat16"] == fast for path in measured):
        return None
    encoder = yaml.safe_load((ROOT / method["config"]).read_text())["method"]["init_args"]["encoder"]["class_path"]
    for path in [*known, *(path for path in measured if made[path]["bfloat16"] != fast)]:
        card = json.loads((path / "encoder/encoder.json").read_text())
        if card["class"].rpartition(".")[2] == encoder.rpartition(".")[2]:
            return path
    raise SystemExit(
        f"{method['config']}: the plan's results were made on a processor with{'out' if fast else ''} bfloat16, where "
        f"minutes are another number of steps than on this one, and none of them has a {encoder} to compare with. Go "
        "on on such a processor, or make all of it here with --results=FOLDER"
    )


def measured(command: list[str], log: Path, keep: Callable[[float], None] | None = None) -> float:
    """Run a command and give the processor time, in minutes, of it and all processes below it.

    Args:
        command: its words.
        log: where what it prints is added.
        keep: told the minutes so far, every few seconds.

    Raises:
        SystemExit: where it fails; the end of its log is in the message.
    """
    print("$", " ".join(["python", *command[1:]]), flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    spent: dict[int, float] = {}
    due = time.monotonic()
    with log.open("a") as file, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT) as process:
        while process.poll() is None:
            try:
                for one in (process, *process.children(recursive=True)):
                    spent[one.pid] = max(spent.get(one.pid, 0.0), sum(one.cpu_times()[:2]))
            except psutil.NoSuchProcess:
                pass
            if keep is not None and time.monotonic() >= due:
                keep(sum(spent.values()) / 60)
                due = time.monotonic() + EVERY
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{log}: status {process.returncode}\n{log.read_text()[-2000:]}")
    return sum(spent.values()) / 60


def tables(done: list[Path]) -> str:
    """How runs did under each protocol, in synchrony, and in their own task on held-out videos."""
    parts = []
    for name in sorted({path.parent.name for run in done for path in run.glob("eval/*/results.json")}):
        judged = [run for run in done if (run / "eval" / name).exists()]
        published = None if name.startswith("stages") else ROOT / "configs/eval/published.yaml"  # of videos
        results = collect(judged, name)
        for headings, rows in (comparison(results, published), advantage(results)):
            if rows:
                shown = [place for place, heading in enumerate(headings) if not WIDE.fullmatch(heading)]
                narrow = [[line[place] for place in shown] for line in (headings, *rows)]
                parts.append(markdown(narrow[0], narrow[1:]))
    sync = [[run.name, *synchrony(json.loads(path.read_text()))] for run in done for path in run.glob("sync_*.json")]
    if sync:
        parts.append(markdown(["run", "videos", *SYNC, "median error, ms"], sync))
    rows = []
    for run in done:
        held_out = json.loads((run / "held_out.json").read_text())
        cost = json.loads((run / "cost.json").read_text())
        card = json.loads((run / "encoder" / "encoder.json").read_text())
        for metric, value in held_out["metrics"].items():
            chance = held_out["metrics"].get(f"chance/{metric}")
            if chance is not None:
                words = [run.name, metric, number(value["mean"], value["low"], value["high"]), f"{chance['mean']:.3f}"]
                rank = f"{held_out['collapse']['rankme']:.1f} of {card['num_features']}"
                fast = {True: "yes", False: "no", None: ""}[cost.get("bfloat16")]
                fast += f" (x {cost['dearer']:.1f})" if "dearer" in cost else ""
                rows.append([*words, str(card["steps"]), f"{cost['cpu_minutes']:.1f}", fast, rank])
    headings = ["run", "metric", "held-out videos", "chance", "steps", "CPU minutes", "bfloat16", "RankMe"]
    return "\n".join([*parts, markdown(headings, rows)])


def synchrony(found: dict[str, Any]) -> list[str]:
    """Cells of one run's synchrony (`avssl.evaluation.synchrony`), each number with its interval and chance."""
    cells = [
        f"{number(found[name]['value'], *found[name]['ci95'])}, chance {found[name]['chance']:.2f}" for name in SYNC
    ]
    return [str(found["videos"]), *cells, f"{found['error_ms']['median_absolute']:.0f}"]


def number(value: float, low: float, high: float) -> str:
    """With its 95 % interval."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
