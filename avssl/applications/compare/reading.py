"""Runs with everything that is known of them: their own task, rank of features, and transfer under each protocol."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from avssl.evaluation.report import scores
from avssl.evaluation.results import Results

PRETEXT, RANK = "pretext", "RankMe"
TRAINED = ("fine_tune", "low shot fine tune")  # read-outs that train the network, by the beginning of their name
SCRATCH = "scratch"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        plan: name of the folder that holds it.
        method: its name without the seed.
        known: numbers by name: ``pretext``, the share of the way from chance to perfect, of the first metric of its
            task; ``RankMe``, relative to the number of features; and ``PROTOCOL: READ-OUT``.
        results: by protocol.
        factors: numbers by name that its plan varied (``factors`` of the method), such as width.
    """

    plan: str
    method: str
    known: Mapping[str, float]
    results: Mapping[str, Results]
    factors: Mapping[str, float]


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Read runs from run folders, folders of runs (of a plan), or folders of those.

    Raises:
        FileNotFoundError: if a folder holds no run with results of transfer.
    """
    found = []
    for folder in folders:
        files = [*folder.glob("eval/*/results.json"), *folder.glob("*/eval/*/results.json")]
        places = sorted({file.parents[2] for file in [*files, *folder.glob("*/*/eval/*/results.json")]})
        if not places:
            raise FileNotFoundError(
                f"{folder}: no eval/PROTOCOL/results.json in it, in its folders or in theirs. Run `avssl evaluate`, or "
                "`avssl study` with a plan, first"
            )
        found += [read_run(place) for place in places]
    return found


def read_run(folder: Path) -> Run:
    """Read a run's folder, or what `avssl study` keeps of it."""
    here = folder.resolve()
    name, dash, seed = here.name.rpartition("-")
    known: dict[str, float] = {}
    if (folder / "held_out.json").exists():
        measured = json.loads((folder / "held_out.json").read_text())
        card = json.loads((folder / "encoder/encoder.json").read_text())
        known |= _own_task(measured["metrics"])
        known[RANK] = measured["collapse"]["rankme"] / card["num_features"]
    results = {file.parent.name: Results.read(file) for file in sorted(folder.glob("eval/*/results.json"))}
    for protocol, result in results.items():
        known |= {f"{protocol}: {words}": score.value for words, score in scores(result, "pretrained").items()}
        for words, score in scores(result, "from_scratch").items():
            if words.startswith(TRAINED[0]):
                known[f"{protocol}: {SCRATCH}"] = score.value
    factors: dict[str, float] = {}
    if (folder / "cost.json").exists():
        factors = json.loads((folder / "cost.json").read_text())["settings"]["method"].get("factors", {})
    method = name if dash and seed.isdigit() else here.name
    return Run(here.parent.name, method, known, results, factors)


def _own_task(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    for name, value in metrics.items():
        if (chance := metrics.get(f"chance/{name}")) is not None:
            return {PRETEXT: (value["mean"] - chance["mean"]) / (1 - chance["mean"])}
    return {}


def by_method(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Gather the seeds of each method of each plan."""
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        found[run.plan, run.method].append(run)
    return dict(found)


def means(runs: Sequence[Run]) -> dict[str, float]:
    """Average what is known of the seeds of a method, where all of them know it."""
    names = [name for name in runs[0].known if all(name in run.known for run in runs)]
    return {name: mean(run.known[name] for run in runs) for name in names}
