"""Results as tables: one run beside its baselines, and many runs of one protocol."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from avssl.evaluation.metrics import both_right, gain
from avssl.evaluation.precision import precision_gain
from avssl.evaluation.results import AveragePrecision, Results, Score, Skipped, Summary

WHO = ("pretrained", "random_init", "from_scratch")
BASELINES = ("random init", "from scratch")
OF_NETWORK = ("numbers", "seeds")  # settings of one network: its features per stage, the seeds of its baselines
COMPARED = ("name", "data", "classes", "labels", "folds", "views")  # parts of a protocol that must be equal


def summaries(results: Results, who: str) -> dict[str, Summary | AveragePrecision]:
    """Return the summaries of ``who``, one of `WHO`, by the read-out's name in tables."""
    found: dict[str, Summary | AveragePrecision] = {}
    for name, outcome in results.outcomes.get(who, {}).items():
        if isinstance(outcome, Summary):
            found[f"{name} top1"] = outcome
        elif isinstance(outcome, AveragePrecision):
            found[f"{name} mAP"] = outcome
        elif isinstance(outcome, Mapping):
            words = name.replace("_", " ")
            for part, summary in outcome.items():
                if isinstance(summary, Summary):  # few labels
                    found[f"{words} {part}"] = summary
                elif isinstance(summary, AveragePrecision):  # SVMs: names of their own
                    found[part] = summary
    return found


def scores(results: Results, who: str) -> dict[str, Score]:
    """Return the main score of every read-out of ``who``, one of `WHO`, by its name in tables."""
    found: dict[str, Score] = {
        name: summary.top1 if isinstance(summary, Summary) else summary
        for name, summary in summaries(results, who).items()
    }
    for name, outcome in results.outcomes.get(who, {}).items():
        if isinstance(outcome, Mapping):  # retrieval: scores with names of their own
            ordered = "_ordered" if name.endswith("_ordered") else ""
            found |= {f"{part}{ordered}": score for part, score in outcome.items() if isinstance(score, Score)}
    return found


def gains(results: Sequence[Results], over: Results | None = None) -> dict[str, Score]:
    """Compute how much pretraining adds to each read-out (see `gain`), by its name in tables.

    All ``results`` are of one method and network. The baseline is the same network at random initialisation; for
    read-outs that train the network, from scratch. With ``over`` it is the encoder of those results instead, such as
    the one that training began from.
    """
    ours = [summaries(result, "pretrained") for result in results]
    if over is None:
        base = summaries(results[-1], "from_scratch") | summaries(results[-1], "random_init")
    else:
        base = summaries(over, "pretrained")
    names = {name: None for row in ours for name in row if name in base and all(name in other for other in ours)}
    found = {name: _gain([row[name] for row in ours], base[name]) for name in names}
    return {name: score for name, score in found.items() if score is not None}


def _gain(ours: Sequence[Summary | AveragePrecision], base: Summary | AveragePrecision) -> Score | None:
    if isinstance(base, Summary):
        return gain([one for one in ours if isinstance(one, Summary)], base)
    return precision_gain([one for one in ours if isinstance(one, AveragePrecision)], base)


def chance_level(results: Results, name: str) -> float:
    """Return the chance level of a score named by `scores`."""
    for part in (name.split("_")[0], name.split()[-1]):  # R@1_ordered, linear mAP
        if part in results.chance:
            return results.chance[part]
    return results.chance["top1"]


def print_results(results: Results, console: Console | None = None) -> None:
    """Print one run beside its baselines: the main score of each read-out with its 95 % interval."""
    title = f"{results.run} on {results.protocol['name']} ({results.protocol['videos']} recordings)"
    table = Table(title=title, show_edge=False, pad_edge=False)  # whole headings in 80 columns
    for heading in ("read-out", "pretrained", "random init", "from scratch", "chance", "gain"):
        table.add_column(heading, no_wrap=heading == "read-out", min_width=10 if heading == "pretrained" else None)
    columns, gained = {who: scores(results, who) for who in WHO}, gains([results])
    for name in {name: None for column in columns.values() for name in column}:
        cells = [cell(columns[who].get(name)) for who in WHO]
        table.add_row(name, *cells, f"{chance_level(results, name):.3f}", cell(gained.get(name), "+"))
    console = console or Console()
    console.print(table)
    for name, outcome in results.outcomes["pretrained"].items():
        if isinstance(outcome, Skipped):
            console.print(f"{name} is left out: {outcome.skipped}")


def collect(runs: Sequence[Path], protocol: str | None = None) -> list[Results]:
    """Read the results of several runs under one protocol, whose name may be left out if they have no other results.

    Raises:
        FileNotFoundError: if a run has no such result.
        ValueError: if the results are of different protocols or settings, so can't share a table; names the files
            and the difference. A read-out that some runs leave out is no difference.
    """
    files: list[Path] = []
    for run in runs:
        found = sorted(run.glob(f"eval/{protocol or '*'}/results.json"))
        if not found:
            raise FileNotFoundError(f"{run}: no eval/{protocol or '*'}/results.json. Run `avssl evaluate` first")
        files += found
    loaded = [Results.read(file) for file in files]
    first = loaded[0]
    known: dict[str, tuple[Path, Any]] = {}  # settings, and the first file with each
    for file, other in zip(files, loaded, strict=True):
        if first.protocol["hash"] != other.protocol["hash"]:
            pairs = {name: (first.protocol.get(name), other.protocol.get(name)) for name in COMPARED}
            differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            raise ValueError(f"{files[0]} and {file} are not of one protocol and can't share a table: {differing}")
        for name, setting in other.settings.items():
            if setting in (None, []) or name == "ordered":  # read-outs and baselines that are left out
                continue
            place = f"{name} {_row(other)[1]}" if name in OF_NETWORK else name
            before, theirs = known.setdefault(place, (file, setting))
            if theirs != setting:
                raise ValueError(
                    f"{before} and {file} differ in {name}: {theirs} and {setting}. Evaluate both with the same config"
                )
    return loaded


def grouped(results: Sequence[Results]) -> dict[tuple[str, str], list[dict[str, Score]]]:
    """Group the `scores` of every run by method and network, sorted by network.

    `BASELINES` count as methods with one run, shared by all runs with their network.
    """
    groups: dict[tuple[str, str], list[dict[str, Score]]] = defaultdict(list)
    for result in results:
        method, network = _row(result)
        groups[method, network].append(scores(result, "pretrained"))
        for baseline in BASELINES:
            if numbers := scores(result, baseline.replace(" ", "_")):
                shared = groups[baseline, network]
                shared[:] = [{**(shared[0] if shared else {}), **numbers}]
    return dict(sorted(groups.items(), key=lambda item: item[0][::-1]))


def comparison(results: Sequence[Results], published: Path | None = None) -> tuple[list[str], list[list[str]]]:
    """Tabulate methods by read-outs, as headings and rows of cells, from the results of one protocol (see `collect`).

    Runs of one method and network (other seeds) share a row: mean ± deviation. ``published`` is a file of published
    numbers, see `published_under`; they get their own column.
    """
    known = {} if published is None else published_under(published, results[0].protocol["name"])
    groups = grouped(results)
    names = list({name: None for rows in groups.values() for row in rows for name in row})
    headings = ["method", "encoder", "runs", *names]
    rows = []
    for (method, network), found in groups.items():
        cells = [_over_runs([row[name] for row in found if name in row]) for name in names]
        rows.append([method, network, "" if method in BASELINES else str(len(found)), *cells])
    rows.append(["chance", "", "", *(f"{chance_level(results[0], name):.3f}" for name in names)])
    if known:
        headings.append("published, under its own protocol")
        for row in rows:
            row.append(known.get(row[0], ""))
    return headings, rows


def published_under(file: Path, protocol: str) -> dict[str, str]:
    """Read published numbers by method, in words and with their sources.

    A YAML file has them by method; under ``protocols``, by protocol and method, the numbers to be compared under it.
    """
    known: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return known | (known.pop("protocols", {}).get(protocol) or {})


def joint(first: Sequence[Results], second: Sequence[Results]) -> tuple[list[str], list[list[str]]]:
    """Tabulate how often runs are right under both of two protocols, such as verbs and nouns of EPIC-KITCHENS.

    ``first`` and ``second`` are of the same runs. The chance level is that of two independent guesses of the largest
    classes.

    Raises:
        ValueError: if the protocols don't test the same recordings.
    """
    both = [protocol.protocol["name"] for protocol in (first[0], second[0])]
    if first[0].protocol["folds"] != second[0].protocol["folds"]:
        raise ValueError(
            f"{both[0]} and {both[1]} don't test the same recordings: index the same files with the same lists for both"
        )
    found = [
        {
            name.split()[0]: both_right(ours, theirs)
            for name, ours in summaries(one, "pretrained").items()
            if isinstance(ours, Summary) and isinstance(theirs := summaries(other, "pretrained").get(name), Summary)
        }
        for one, other in zip(first, second, strict=True)
    ]
    names = list({name: None for row in found for name in row})
    rows = [[*_row(one), *(cell(row.get(name)) for name in names)] for one, row in zip(first, found, strict=True)]
    chance = first[0].chance["top1"] * second[0].chance["top1"]
    return [f"{' and '.join(both)} of", "encoder", *names], [*rows, ["chance", "", *(f"{chance:.3f}" for _ in names)]]


def advantage(results: Sequence[Results], over: Results | None = None) -> tuple[list[str], list[list[str]]]:
    """Tabulate the `gains` of methods by read-outs, like `comparison`; without results that are older than ``hits``."""
    groups: dict[tuple[str, str], list[Results]] = defaultdict(list)
    for result in results:
        groups[_row(result)].append(result)
    found = {key: gains(rows, over) for key, rows in sorted(groups.items(), key=lambda item: item[0][::-1])}
    names = list({name: None for row in found.values() for name in row})
    cells = {key: [cell(row.get(name), "+") for name in names] for key, row in found.items() if row}
    heading = "gain of" if over is None else f"gain over {over.run} of"
    return [heading, "encoder", "runs", *names], [[*key, str(len(groups[key])), *row] for key, row in cells.items()]


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def comma_separated(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([headings, *rows])
    return text.getvalue()


def _row(result: Results) -> tuple[str, str]:
    """Return method and network, which is named without arguments that are whole configurations themselves."""
    card = result.encoder
    told = ", ".join(f"{name}={value}" for name, value in card["config"].items() if not isinstance(value, dict))
    return card.get("method", result.run), f"{card['class'].rpartition('.')[2]}({told})"


def cell(score: Score | None, sign: str = "") -> str:
    """Return a number with its 95 % interval; nothing for None."""
    if score is None:
        return ""
    low, high = score.ci95_bootstrap
    return f"{score.value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _over_runs(found: Sequence[Score]) -> str:
    if len(found) < 2:
        return cell(found[0] if found else None)
    values = [score.value for score in found]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
