"""One study over several labelled sets: what each pretext task is worth on each, and how well one set tells of another.

A. Kolesnikov, X. Zhai, L. Beyer: Revisiting Self-Supervised Visual Representation Learning. CVPR 2019. P. Goyal et al.:
Scaling and Benchmarking Self-Supervised Visual Representation Learning. ICCV 2019. Both ask whether a ranking of
pretext tasks carries over to other networks, budgets and data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from avssl.evaluation.report import cell, chance_level, markdown
from avssl.evaluation.results import Results, Score, Summary, to_json
from avssl.runtime.files import write_text
from avssl.studies.correlation import rank_correlation
from avssl.studies.plans import Plan
from avssl.studies.sets_picture import gains_picture
from avssl.studies.sets_results import Found

FEWEST = 3  # methods on a set, whose ranks can be correlated
RunPlan = Callable[[Plan, str, int], None]  # makes the result of a set's plan, a method and a seed


@dataclass(frozen=True)
class SetsPlan:
    """A comparison of methods on several labelled sets; paths in it are relative to the current folder.

    Attributes:
        name: name of its file, without the ending.
        sets: for each set its ``videos`` without labels, ``judge`` and, if wanted, ``group`` and ``labelled``, as of
            `Plan`; the first judge is ``avssl evaluate PROTOCOL ...``. ``changes`` are added to those of every method.
        methods: as of `Plan`; or ``encoder``, the class of one that is judged as it is, without pretraining, such as
            `avssl.evaluation.MotionEnergy`, with ``changes`` such as ``--encoder.directions=true``.
        seeds: seeds of pretraining; an encoder that is judged as it is has one run.
        over: name of a method over which gains are also shown, such as hand-made features.
        cpu_minutes: see `Plan`.
        prepare: see `Plan`.
    """

    name: str
    sets: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]
    seeds: list[int]
    over: str | None = None
    cpu_minutes: float | None = None
    prepare: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> SetsPlan:
        """Read a plan; raise ValueError if a key is unknown or missing."""
        entries = {"name": path.stem, **yaml.safe_load(path.read_text(encoding="utf-8"))}
        try:
            plan = cls(**entries)
            for name in plan.sets:
                plan.on(name)
        except TypeError as error:
            known = ", ".join(one.name for one in fields(cls)[1:])
            raise ValueError(f"{path}: {error}; the keys of a plan over sets are {known}") from error
        if plan.over is not None and plan.over not in plan.methods:
            raise ValueError(f"{path}: over is {plan.over!r}, none of the methods {list(plan.methods)}")
        return plan

    def on(self, name: str) -> Plan:
        """Return the plan of one set."""
        entry = dict(self.sets[name])
        more = entry.pop("changes", [])
        methods = {
            method: one if "encoder" in one else {**one, "changes": [*one.get("changes", []), *more]}
            for method, one in self.methods.items()
        }
        return Plan(
            name=f"{self.name}/{name}",
            methods=methods,
            seeds=self.seeds,
            cpu_minutes=self.cpu_minutes,
            prepare=self.prepare,
            **entry,
        )

    def runs(self, method: str) -> list[int]:
        """Return the seeds of a method."""
        return self.seeds[:1] if "encoder" in self.methods[method] else self.seeds


def run_sets(plan: SetsPlan, only: Sequence[str] | None, run_one: RunPlan, kept: Path) -> str:
    """Pretrain and judge every method on every set, write ``study.json`` and ``study.png``, return Markdown tables.

    Args:
        plan: the plan.
        only: methods to run; tables hold every result.
        run_one: makes one result unless it is there.
        kept: folder of the kept results, ``SET/METHOD-SEED``.
    """
    for seed in plan.seeds:
        for name in plan.sets:
            for method in plan.methods if only is None else only:
                if seed in plan.runs(method):
                    run_one(plan.on(name), method, seed)
    found = Found({name: read_kept(plan, name, kept / name) for name in plan.sets}, plan.over)
    if not found.read_outs:
        raise ValueError(f"{kept}: no result yet: run some methods of {plan.name}")
    told = correlations(found)
    gains_picture(found, kept / "study.png")
    write_text(kept / "study.json", json.dumps(numbers(found, told), indent=1) + "\n")
    return tables(found, told)


def read_kept(plan: SetsPlan, name: str, folder: Path) -> dict[str, list[Results]]:
    """Read the kept results on a set, by method, in the order of the plan; raise ValueError if folds differ."""
    words = plan.on(name).judge[0].split()
    named = [word.partition("=")[2] for word in words if word.startswith("--name=")]
    protocol = named[-1] if named else Path(words[2]).stem
    found: dict[str, list[Results]] = {}
    for method in plan.methods:
        places = [folder / f"{method}-{seed}" / "eval" / protocol / "results.json" for seed in plan.runs(method)]
        files = [file for file in places if file.exists()]
        if files:
            found[method] = [Results.read(file) for file in files]
    hashes = {one.protocol["hash"] for runs in found.values() for one in runs}
    if len(hashes) > 1:
        raise ValueError(f"{folder}: results on different videos or folds: delete the older ones to make them again")
    return found


def correlations(found: Found) -> dict[str, dict[str, Score | None]]:
    """Correlate ranks of the accuracy of methods: between every two sets, and between every two read-outs.

    Returns:
        ``"sets"``: for each read-out and pair of sets, over methods. ``"read-outs"``: for each pair of read-outs, over
        methods and sets, each accuracy less the mean over the methods on its set. None, or a set left out, where there
        are fewer than three methods: two are ranked alike or not, whatever they are.
    """
    methods, sets = found.methods, list(found.results)
    values = {
        read_out: np.array([[found.value(on, method, read_out) for on in sets] for method in methods])
        for read_out in found.read_outs
    }  # each [methods, sets]
    between_sets = {
        f"{read_out}: {sets[one]}, {sets[two]}": rank_correlation(table[:, one], table[:, two])
        for read_out, table in values.items()
        for one, two in combinations(range(len(sets)), 2)
    }
    between_read_outs = {}
    for one, two in combinations(found.read_outs, 2):
        both = ~np.isnan(values[one] + values[two])
        both &= both.sum(0) >= FEWEST
        centred = [np.where(both, values[name], np.nan) for name in (one, two)]
        sides = [(table - _means(table)).ravel() for table in centred]
        between_read_outs[f"{one}, {two}"] = rank_correlation(*sides)
    return {"sets": between_sets, "read-outs": between_read_outs}


def _means(table: Any) -> Any:
    """Return the mean of each column without NaN, NaN for a column of nothing else."""
    known = ~np.isnan(table)
    return np.where(known, table, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)


def tables(found: Found, told: Mapping[str, Mapping[str, Score | None]]) -> str:
    """Return Markdown: for each read-out methods by sets, then the rank correlations.

    A cell has the mean accuracy over runs, in brackets the interval of a single one; the gain over the same network
    untrained; and the gain over the method `Found.over`.
    """
    sets, parts = list(found.results), []
    for read_out in found.read_outs:
        rows = []
        for method in found.methods:
            rows.append([method])
            for on in sets:
                ours = found.runs(on, method, read_out)
                first = "" if not ours else cell(ours[0].top1) if len(ours) == 1 else _spread(ours)
                more = [
                    (found.gain(on, method, read_out), "untrained"),
                    (found.above(on, method, read_out), found.over),
                ]
                rows[-1].append("; ".join([first, *(f"{cell(score, '+')} over {who}" for score, who in more if score)]))
        chance = [next(iter(runs.values()), [None])[0] for runs in found.results.values()]
        rows.append(["chance", *("" if one is None else f"{chance_level(one, read_out):.3f}" for one in chance)])
        parts.append(markdown([read_out, *sets], rows))
    for kind, words in (("sets", "over methods"), ("read-outs", "over methods and sets")):
        rows = [[name, cell(score, "+") or "too few"] for name, score in told[kind].items()]
        if rows:
            parts.append(markdown([f"{kind}, rank correlation {words}", "Spearman's"], rows))
    return "\n".join(parts)


def _spread(ours: Sequence[Summary]) -> str:
    values = [one.top1.value for one in ours]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} ({len(values)} runs)"


def numbers(found: Found, told: Mapping[str, Mapping[str, Score | None]]) -> dict[str, Any]:
    """Return what `tables` show as JSON values."""
    cells = {
        on: {
            method: {
                read_out: {
                    "top1": [one.top1.value for one in ours],
                    "gain": to_json(found.gain(on, method, read_out)),
                    f"over {found.over}": to_json(found.above(on, method, read_out)),
                }
                for read_out in found.read_outs
                if (ours := found.runs(on, method, read_out))
            }
            for method in methods
        }
        for on, methods in found.results.items()
    }
    return {"gains": cells, "rank correlations": to_json(told)}
