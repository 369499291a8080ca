"""Pretrain, judge by transfer and tabulate every method of a plan; what is already there is not made again.

    python benchmarks/transfer.py benchmarks/ut_interaction.yaml -o docs/results.md

A plan names the unlabelled videos, the protocol, the seeds, and for each method its config and what is changed in it
for these videos. The processor time of each pretraining is measured and stands in the table. What the tables are made
of is kept in benchmarks/results/PLAN/METHOD-SEED, a few small files a run; runs themselves may be deleted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import yaml

from avssl.data.journal import write_text
from avssl.evaluation.report import collect, comparison, markdown

ROOT = Path(__file__).parents[1]
TRIAL = (10, 40)  # steps of two short runs, from which the processor time of a step is found


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
    folder, results, protocol = args.runs / args.plan.stem, args.results / args.plan.stem, plan["protocol"]
    copies = [(Path(root), folder / "videos" / Path(root).name) for root in plan["videos"]]
    for seed in plan["seeds"]:
        for name in plan["methods"] if args.only is None else args.only:
            run, found = folder / f"{name}-{seed}", Path("eval", Path(protocol).stem, "results.json")
            settings = {"method": plan["methods"][name], "cpu_budget": plan.get("cpu_minutes")}
            if (results / run.name / found).exists():
                check_same(results / run.name / "cost.json", settings)
                continue
            roots = [prepared(*copy, plan["prepare"]) for copy in copies]
            pretrain(run, settings, seed, roots)
            judge(run, protocol, plan["evaluate"])
            for file in ("cost.json", "held_out.json", "encoder/encoder.json", found):
                facts = json.loads((run / file).read_text())
                write_text(results / run.name / file, json.dumps(facts, separators=(",", ":")) + "\n")
    done = sorted(path.parents[2] for path in results.glob(f"*/eval/{Path(protocol).stem}/results.json"))
    text = tables(done, Path(protocol).stem)
    print(text)
    if args.out is not None:
        before, mark, rest = args.out.read_text().partition(f"<!-- {args.plan.stem} -->\n")
        write_text(args.out, f"{before}{mark}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}")


def prepared(root: Path, out: Path, options: dict[str, Any]) -> Path:
    """Training-ready copies of a folder."""
    if not (out / "videos.parquet").exists():
        words = [f"--{name}={value}" for name, value in options.items()]
        measured([sys.executable, "tools/prepare.py", str(root), "-o", str(out), *words], out.with_suffix(".log"))
    return out / "videos.parquet"


def check_same(cost: Path, settings: dict[str, Any]) -> None:
    """Refuse a result that was made with other settings than the plan's.

    Raises:
        SystemExit: naming the folder to delete.
    """
    made = json.loads(cost.read_text())["settings"]
    if made != settings:
        raise SystemExit(f"{cost.parent} was made with {made}, the plan says {settings}: delete it to make it anew")


def pretrain(run: Path, settings: dict[str, Any], seed: int, roots: list[Path]) -> None:
    """Train one method with one seed; leaves ``cost.json`` in the run's folder.

    A run that was broken off begins anew: its cost would not be known otherwise. Where the plan has a budget of
    ``cpu_minutes``, two short trials tell how many steps that is.
    """
    if (run / "cost.json").exists():
        check_same(run / "cost.json", settings)
        return
    method, budget = settings["method"], settings["cpu_budget"]
    videos = f"--data.root=[{','.join(map(str, roots))}]"
    command = [sys.executable, "tools/train.py", method["config"], videos, f"--runs={run.parent}", f"--seed={seed}"]
    command += method.get("changes", [])

    def trained(run: Path, *words: str) -> float:
        shutil.rmtree(run, ignore_errors=True)
        return measured([*command, f"--name={run.name}", *words], run / "pretraining.log")

    words = []
    if budget is not None:
        trial = run.with_name(f"{run.name}-trial")
        short, longer = (trained(trial, f"--trainer.max_steps={steps}") for steps in TRIAL)
        shutil.rmtree(trial)
        a_step = (longer - short) / (TRIAL[1] - TRIAL[0])
        words = [f"--trainer.max_steps={int((budget - short) / a_step) + TRIAL[0]}"]
    minutes = trained(run, *words)
    write_text(run / "cost.json", json.dumps({"cpu_minutes": minutes, "settings": settings}))


def judge(run: Path, protocol: str, changes: list[str]) -> None:
    """Evaluate one run."""
    if not (run / "eval" / Path(protocol).stem / "results.json").exists():
        command = [sys.executable, "tools/evaluate.py", protocol, f"--run={run}", *changes]
        measured(command, run / f"{Path(protocol).stem}.log")


def measured(command: list[str], log: Path) -> float:
    """Run a command and give the processor time, in minutes, of it and all processes below it.

    Raises:
        SystemExit: where it fails; the end of its log is in the message.
    """
    print("$", " ".join(["python", *command[1:]]), flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    spent: dict[int, float] = {}
    with log.open("w") as file, psutil.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT) as process:
        while process.poll() is None:
            try:
                for one in (process, *process.children(recursive=True)):
                    spent[one.pid] = max(spent.get(one.pid, 0.0), sum(one.cpu_times()[:2]))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{log}: status {process.returncode}\n{log.read_text()[-2000:]}")
    return sum(spent.values()) / 60


def tables(done: list[Path], protocol: str) -> str:
    """The pretext task on held-out videos, and transfer."""
    rows = []
    for run in done:
        held_out = json.loads((run / "held_out.json").read_text())
        cost = json.loads((run / "cost.json").read_text())["cpu_minutes"]
        card = json.loads((run / "encoder" / "encoder.json").read_text())
        for metric, value in held_out["metrics"].items():
            chance = held_out["metrics"].get(f"chance/{metric}")
            if chance is not None:
                interval = f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
                words = [run.name, metric, interval, f"{chance['mean']:.3f}", str(card["steps"]), f"{cost:.1f}"]
                rows.append([*words, f"{held_out['collapse']['rankme']:.1f} of {card['num_features']}"])
    pretext = markdown(["run", "metric", "held-out videos", "chance", "steps", "CPU minutes", "RankMe"], rows)
    headings, lines = comparison(collect(done, protocol), ROOT / "configs/eval/published.yaml")
    return f"{markdown(headings, lines)}\n{pretext}"


if __name__ == "__main__":
    main()
