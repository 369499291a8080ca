"""The measurement behind ``avssl compare``.

S. Kornblith, J. Shlens, Q. V. Le: Do Better ImageNet Models Transfer Better? CVPR 2019; A. Kolesnikov, X. Zhai,
L. Beyer: Revisiting Self-Supervised Visual Representation Learning. CVPR 2019; K. He, R. Girshick, P. Dollár:
Rethinking ImageNet Pre-Training. ICCV 2019; P. Goyal, D. Mahajan, A. Gupta, I. Misra: Scaling and Benchmarking
Self-Supervised Visual Representation Learning. ICCV 2019.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avssl.applications.compare.reading import PRETEXT, RANK, SCRATCH, TRAINED, Run, by_method, find_runs, means
from avssl.applications.compare.results import Advantage, Comparison, Correlation, Slope, picture
from avssl.evaluation.metrics import RESAMPLES, gain, interval
from avssl.evaluation.report import summaries
from avssl.evaluation.results import Results, Score, Summary
from avssl.runtime.files import write_text
from avssl.studies.correlation import rank_correlation

LEAST = 4  # methods; fewer can't be ranked usefully


def compare_runs(results: Sequence[Path], out: Path | None = None) -> Comparison:
    """Put the results of several runs and protocols side by side.

    Args:
        results: run folders, folders of runs, or what `avssl study` keeps of them.
        out: folder for ``compare.json`` and ``compare.png``; None writes nothing.

    Raises:
        FileNotFoundError: if there are no results.
        ValueError: if results say the same in different ways (see `avssl table`).
    """
    runs = find_runs(results)
    methods = by_method(runs)
    plans: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for (plan, method), seeds in methods.items():
        plans[plan][method] = means(seeds)
    correlations = [one for plan, rows in plans.items() for one in correlate(plan, rows)]
    found = Comparison(plans, correlations, advantages(methods), [one for plan in plans for one in slopes(plan, runs)])
    if out is not None:
        write_text(out / "compare.json", json.dumps(found.to_json(), indent=1))
        picture(found, out / "compare.png")
    return found


def correlate(plan: str, rows: Mapping[str, Mapping[str, float]]) -> list[Correlation]:
    """Correlate, over the methods of a plan, whatever could predict with what it should predict.

    Predictors are accuracy in the pretext task, RankMe and read-outs of the frozen encoder; targets are read-outs of a
    trained network, their gain over the same network from scratch, and read-outs of the frozen encoder. Intervals draw
    methods.
    """
    table = {name: dict(known) for name, known in rows.items()}
    names = list(dict.fromkeys(name for known in table.values() for name in known))
    tuned = [name for name in names if name.partition(": ")[2].startswith(TRAINED)]
    for name in (each for each in tuned if each.partition(": ")[2].startswith(TRAINED[0])):
        scratch = f"{name.partition(': ')[0]}: {SCRATCH}"
        for known in table.values():
            if name in known and scratch in known:
                known[f"{name} over scratch"] = known[name] - known[scratch]
    gained = [name for name in dict.fromkeys(each for known in table.values() for each in known) if "over" in name]
    frozen = [name for name in names if ": " in name and name not in tuned and not name.endswith(SCRATCH)]
    pairs = [(one, other) for one in (PRETEXT, RANK, *frozen) for other in (*tuned, *gained)]
    pairs += [(one, other) for one in (PRETEXT, RANK) for other in frozen]
    found = []
    for one, other in pairs:
        both = [(known[one], known[other]) for known in table.values() if one in known and other in known]
        sides = np.array(both).T
        score = rank_correlation(sides[0], sides[1]) if len(both) >= LEAST else None
        if score is not None:
            found.append(Correlation(plan, one, other, len(both), score))
    return found


def advantages(methods: Mapping[tuple[str, str], Sequence[Run]]) -> list[Advantage]:
    """Compare fine-tuning with training the same network from scratch: by steps and by the number of labels.

    Where a run has results for several numbers of steps on the same videos, fine-tuning with few steps is also
    compared with training from scratch for the most.
    """
    found = []
    for (plan, method), runs in methods.items():
        tuned: dict[tuple[str, str], tuple[float, list[Summary], Summary]] = {}
        for protocol in runs[0].results:
            of_all = [run.results[protocol] for run in runs if protocol in run.results]
            ours = [summaries(one, "pretrained") for one in of_all]
            base = summaries(of_all[-1], "from_scratch")
            for name, one in base.items():
                if not name.startswith(TRAINED):
                    continue
                sides = [each.get(name) for each in ours]
                if isinstance(one, Summary) and all(isinstance(side, Summary) for side in sides):
                    whole = [side for side in sides if isinstance(side, Summary)]
                    tuned[protocol, name] = (_steps(of_all[-1], name), whole, one)
        for (protocol, name), (steps, mine, one) in tuned.items():
            found.append(_advantage(plan, method, protocol, name, (steps, mine), (steps, one)))
            longest = max((each for (_, other), each in tuned.items() if other == name), key=lambda each: each[0])
            if longest[0] > steps and longest[2].units == one.units:
                found.append(_advantage(plan, method, protocol, name, (steps, mine), (longest[0], longest[2])))
    return [one for one in found if one is not None]


def _steps(results: Results, name: str) -> float:
    """Return the optimiser steps of a read-out that trains the network (epochs, where a budget is in these)."""
    settings = results.settings.get("low_shot" if name.startswith("low shot") else "fine_tune") or {}
    budget = settings.get("fine_tune", settings) or {}
    return float(budget.get("epochs") or budget.get("steps", 0))


def _advantage(
    plan: str,
    method: str,
    protocol: str,
    name: str,
    ours: tuple[float, Sequence[Summary]],
    base: tuple[float, Summary],
) -> Advantage | None:
    try:
        more = gain(ours[1], base[1])
    except ValueError:  # tested on other folds, such as of another number of seeds
        return None
    if more is None:
        return None
    labels = int(name.split()[-1]) if name.startswith("low shot") else None
    value = float(np.mean([one.top1.value for one in ours[1]]))
    return Advantage(plan, method, protocol, labels, ours[0], base[0], value, base[1].top1.value, more)


def slopes(plan: str, runs: Sequence[Run]) -> list[Slope]:
    """Fit each number by the base-2 logarithms of what a plan varied, and of every two of them together.

    A slope is the change per doubling of a factor, at the mean of the others. Intervals draw runs.
    """
    ours = [run for run in runs if run.plan == plan and run.factors]
    found = []
    kinds = sorted({tuple(run.factors) for run in ours})
    for names in kinds:
        some = [run for run in ours if tuple(run.factors) == names]
        logs = np.log2([[run.factors[name] for name in names] for run in some])  # [N, F]
        varied = [place for place in range(len(names)) if np.ptp(logs[:, place]) > 0]
        logs = logs[:, varied] - logs[:, varied].mean(0)
        told = [names[place] for place in varied]
        terms = [*((place,) for place in range(len(told))), *combinations(range(len(told)), 2)]
        design = np.stack([np.ones(len(some)), *(logs[:, list(term)].prod(1) for term in terms)], 1)
        for measure in sorted({name for run in some for name in run.known}):
            rows = [row for row, run in enumerate(some) if measure in run.known]
            values = np.array([some[row].known[measure] for row in rows])
            if len(rows) <= design.shape[1] or np.linalg.matrix_rank(design[rows]) < design.shape[1]:
                continue
            fitted, spread = _fit(design[rows], values)
            for place, term in enumerate(terms, start=1):
                words = " x ".join(told[one] for one in term)
                score = Score(float(fitted[place]), interval(spread[:, place]))
                found.append(Slope(plan, measure, words, len(rows), score))
    return found


def _fit(design: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return least-squares coefficients ``[P]``, and those ``[R, P]`` of resampled runs that determine all of them."""
    rng = np.random.default_rng(0)
    draws = []
    for rows in rng.integers(len(values), size=(RESAMPLES, len(values))):
        if np.linalg.matrix_rank(design[rows]) == design.shape[1]:
            draws.append(np.linalg.lstsq(design[rows], values[rows], rcond=None)[0])
    return np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], np.float64), np.array(draws)
