"""Results as tables: one run beside its baselines, and many runs of one protocol."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from avssl.evaluation.metrics import gain

WHO = ("pretrained", "random_init", "from_scratch")
BASELINES = ("random init", "from scratch")
SEVERAL = ("retrieval", "retrieval_ordered", "svm")  # read-outs of several numbers, each with its own name


def summaries(results: Mapping[str, Any], who: str) -> dict[str, dict[str, Any]]:
    """The read-outs that say a class for every video: name to what `avssl.evaluation.metrics.summarise` gave.

    Args:
        results: as in ``results.json``.
        who: ``"pretrained"``, ``"random_init"`` or ``"from_scratch"``.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in results["results"].get(who, {}).items():
        if "video" in value:
            found[f"{name} top1"] = value
        elif name not in SEVERAL:  # few labels
            words = name.replace("_", " ")
            found |= {f"{words} {shots}": row for shots, row in value.items() if "video" in row}
    return found


def scores(results: Mapping[str, Any], who: str) -> dict[str, dict[str, Any]]:
    """The main number of every read-out: name to ``value`` and ``ci95_bootstrap``.

    Args:
        results: as in ``results.json``.
        who: ``"pretrained"``, ``"random_init"`` or ``"from_scratch"``.
    """
    found = {name: summary["video"]["top1"] for name, summary in summaries(results, who).items()}
    for name in SEVERAL:
        ordered = "_ordered" if name.endswith("_ordered") else ""
        rows = results["results"].get(who, {}).get(name, {})
        found |= {f"{row}{ordered}": number for row, number in rows.items()}
    return found


def gains(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What pretraining adds to each read-out: name to ``value`` and ``ci95_bootstrap`` (see `gain` of metrics).

    The baseline is the same network at random initialisation; where the network is trained, the same from scratch.

    Args:
        results: of one method and network under one protocol, a run each.
    """
    ours = [summaries(result, "pretrained") for result in results]
    base = {who: summaries(results[-1], who) for who in ("from_scratch", "random_init")}
    found = {}
    for name in {name: None for row in ours for name in row}:
        baseline = base["random_init"].get(name) or base["from_scratch"].get(name)
        if baseline is not None and all(name in row for row in ours):
            found[name] = gain([row[name] for row in ours], baseline)
    return {name: value for name, value in found.items() if value is not None}


def guess(results: Mapping[str, Any], name: str) -> float:
    """What guessing reaches in a read-out named by `scores`."""
    name = name.split("_")[0]
    return results["chance"][name if name in results["chance"] else "top1"]


def print_results(results: Mapping[str, Any], console: Console | None = None) -> None:
    """One run beside its baselines: accuracies of videos (or what a read-out is called), with 95 % intervals."""
    protocol = results["protocol"]
    title = f"{results['run']} on {protocol['name']} ({protocol['videos']} recordings)"
    table = Table(title=title, show_edge=False, pad_edge=False)  # whole headings in 80 columns
    for heading in ("read-out", "pretrained", "random init", "from scratch", "chance", "gain"):
        table.add_column(heading, no_wrap=heading == "read-out", min_width=10 if heading == "pretrained" else None)
    columns, gained = {who: scores(results, who) for who in WHO}, gains([results])
    for name in {name: None for column in columns.values() for name in column}:
        cells = [_cell(columns[who].get(name)) for who in WHO]
        table.add_row(name, *cells, f"{guess(results, name):.3f}", _cell(gained.get(name), "+"))
    (console or Console()).print(table)


def collect(runs: Sequence[Path], protocol: str | None = None) -> list[dict[str, Any]]:
    """The results of several runs under one protocol.

    Args:
        runs: run folders.
        protocol: its name; may be left out where the runs have results of one protocol only.

    Raises:
        FileNotFoundError: where a run has no such result.
        ValueError: where results of different protocols, or of one protocol with different settings, would stand in
            one table; names the files and what differs.
    """
    files: list[Path] = []
    for run in runs:
        found = sorted(run.glob(f"eval/{protocol or '*'}/results.json"))
        if not found:
            raise FileNotFoundError(f"{run}: no eval/{protocol or '*'}/results.json. Run tools/evaluate.py first")
        files += found
    loaded = [json.loads(file.read_text()) for file in files]
    first = loaded[0]
    for file, other in zip(files, loaded, strict=True):
        ours, theirs = first["protocol"], other["protocol"]
        if ours["hash"] != theirs["hash"]:
            names = ("name", "data", "classes", "labels", "folds", "views")
            differing = {
                name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)
            }
            raise ValueError(f"{files[0]} and {file} are not of one protocol and can't share a table: {differing}")
        for name, setting in first["settings"].items():
            if other["settings"][name] != setting:
                raise ValueError(
                    f"{files[0]} and {file} differ in {name}: {setting} and {other['settings'][name]}. "
                    "Evaluate both with the same config"
                )
    return loaded


def grouped(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[str, dict[str, Any]]]]:
    """The `scores` of every run, by method and network, sorted by network.

    `BASELINES` are methods of one run, which all runs with their network share.

    Args:
        results: of one protocol, see `collect`.
    """
    groups: dict[tuple[str, str], list[dict[str, dict[str, Any]]]] = defaultdict(list)
    for result in results:
        method, network = _row(result)
        groups[method, network].append(scores(result, "pretrained"))
        for baseline in BASELINES:
            if numbers := scores(result, baseline.replace(" ", "_")):
                shared = groups[baseline, network]
                shared[:] = [{**(shared[0] if shared else {}), **numbers}]
    return dict(sorted(groups.items(), key=lambda item: item[0][::-1]))


def comparison(
    results: Sequence[Mapping[str, Any]], published: Path | None = None
) -> tuple[list[str], list[list[str]]]:
    """Method x read-out. Runs of one method and network (other seeds) share a row: mean, deviation over the runs.

    Args:
        results: of one protocol, see `collect`.
        published: YAML of method name to numbers in words, with their own protocol; they get a column of their own.

    Returns:
        Headings, and rows of cells.
    """
    known: dict[str, str] = {} if published is None else yaml.safe_load(published.read_text())
    groups = grouped(results)
    names = list({name: None for rows in groups.values() for row in rows for name in row})
    headings = ["method", "encoder", "runs", *names]
    rows = []
    for (method, network), found in groups.items():
        baseline = method in BASELINES
        cells = [_over_runs([row[name] for row in found if name in row]) for name in names]
        rows.append([method, network, "" if baseline else str(len(found)), *cells])
    rows.append(["chance", "", "", *(f"{guess(results[0], name):.3f}" for name in names)])
    if known:
        headings.append("published, under its own protocol")
        for row in rows:
            row.append(known.get(row[0], ""))
    return headings, rows


def advantage(results: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Method x read-out: `gains` over the untrained network, over training from scratch where networks are trained.

    Args:
        results: of one protocol, see `collect`; runs of one method and network share a row.

    Returns:
        Headings, and rows of cells; a result of before hits were kept leaves its row out.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        groups[_row(result)].append(result)
    found = {key: gains(rows) for key, rows in sorted(groups.items(), key=lambda item: item[0][::-1])}
    names = list({name: None for row in found.values() for name in row})
    rows = [
        [*key, str(len(groups[key])), *(_cell(row.get(name), "+") for name in names)]
        for key, row in found.items()
        if row
    ]
    return ["gain of", "encoder", "runs", *names], rows


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def comma_separated(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([headings, *rows])
    return text.getvalue()


def _row(result: Mapping[str, Any]) -> tuple[str, str]:
    """Method and network."""
    card = result["encoder"]
    network = f"{card['class'].rpartition('.')[2]}({', '.join(f'{k}={v}' for k, v in card['config'].items())})"
    return card.get("method", result["run"]), network


def _cell(score: Mapping[str, Any] | None, sign: str = "") -> str:
    if score is None:
        return ""
    low, high = score["ci95_bootstrap"]
    return f"{score['value']:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _over_runs(found: Sequence[Mapping[str, Any]]) -> str:
    if len(found) < 2:
        return _cell(found[0] if found else None)
    values = [score["value"] for score in found]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
