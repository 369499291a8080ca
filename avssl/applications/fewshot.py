"""Few-shot recognition with frozen features: encoders, untrained networks and motion energy on the same episodes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from avssl.applications.subjects import open_task, subjects
from avssl.encoders import Encoder
from avssl.evaluation.episodes import Episodes
from avssl.evaluation.protocol import Protocol
from avssl.evaluation.report import cell
from avssl.evaluation.results import EpisodeAccuracy, Score, to_json
from avssl.evaluation.settings import plain
from avssl.runtime.device import Machine
from avssl.runtime.files import write_atomically, write_text


@dataclass(frozen=True)
class FewShotResults:
    """Content of ``fewshot.json``.

    Attributes:
        protocol: identity of the protocol.
        episodes: settings of the episodes.
        chance: by number of classes (``5-way``).
        accuracy: by name of the features, then by head, shots and ways (``linear 5-shot 5-way``).
        gain: of each run over each baseline on the same episodes, by ``RUN over BASELINE``, then as ``accuracy``.
        seconds: how long it took.
    """

    protocol: Mapping[str, Any]
    episodes: Mapping[str, Any]
    chance: Mapping[str, float]
    accuracy: Mapping[str, Mapping[str, EpisodeAccuracy]]
    gain: Mapping[str, Mapping[str, Score]]
    seconds: float


def few_shots(
    protocol: Protocol,
    runs: list[Path],
    out: Path,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
    own_size: bool = False,
) -> FewShotResults:
    """Measure few-shot accuracy of runs, of their untrained networks and of hand-made features; write it into ``out``.

    Writes ``fewshot.json`` and ``fewshot.png``. Intervals are over groups of queries and seeds; those of a gain are of
    the same queries of the same episodes.

    Args:
        protocol: labelled videos, split, views and, unless at their defaults, ``episodes``; its other read-outs are not
            run. With fewer classes than ``episodes.ways`` says by default, all are used.
        runs: run or export folders.
        out: folder of the results.
        machine: device, workers and cache.
        encoder: an encoder instead of the run's; see `avssl.evaluation.run.evaluate`.
        own_size: show clips at the size on the encoders' cards.

    Raises:
        TooFewLabels: if too few classes have the groups and videos that an episode needs.
        ValueError: if videos show several classes or none; for others see `open_task`.
    """
    begun = time.perf_counter()
    task, encoders = open_task(protocol, runs, encoder, own_size)
    if task.several:
        raise ValueError(f"{protocol.name}: episodes need videos of one class each, and some show several or none")
    episodes = protocol.episodes or replace(Episodes(), ways=(min(5, task.classes),))
    every = subjects(task, encoders, machine)
    tested = {each.name: dict(episodes.tested(each.banks, task.folds, machine.target)) for each in every}
    results = FewShotResults(
        protocol=task.facts,
        episodes=plain(episodes),
        chance=episodes.chance(),
        accuracy={name: {key: one.accuracy() for key, one in found.items()} for name, found in tested.items()},
        gain={
            f"{ours.name} over {base.name}": {
                key: one.gain(tested[base.name][key]) for key, one in tested[ours.name].items()
            }
            for ours in every
            for base in every
            if base.baseline and not ours.baseline
        },
        seconds=round(time.perf_counter() - begun, 1),
    )
    write_text(out / "fewshot.json", json.dumps(to_json(results), indent=1))
    picture(results, out / "fewshot.png")
    return results


def print_few_shots(results: FewShotResults, console: Console | None = None) -> None:
    """Print accuracies and gains with their 95 % intervals."""
    console = console or Console(width=120)
    tasks, heads = _axes(results)
    for task in tasks:
        where = f"{results.protocol['name']} ({results.protocol['videos']} videos), {task}"
        table = Table("features", *heads, title=f"{where}, {results.episodes['episodes']} episodes")
        for rows, sign in ((results.accuracy, ""), (results.gain, "+")):
            for who, found in rows.items():
                table.add_row(who, *(cell(found[f"{head} {task}"], sign) for head in heads))
            if not sign:
                table.add_row("chance", *[f"{results.chance[task.split()[-1]]:.3f}"] * len(heads), end_section=True)
        console.print(table)


def _axes(results: FewShotResults) -> tuple[list[str], list[str]]:
    """Return the names of tasks (``5-shot 5-way``) and of heads."""
    names = [name.partition(" ") for name in next(iter(results.accuracy.values()))]
    return list(dict.fromkeys(task for _, _, task in names)), list(dict.fromkeys(head for head, _, _ in names))


def picture(results: FewShotResults, path: Path) -> None:
    """Draw the accuracy of each kind of features by head, one panel per number of shots and classes."""
    tasks, heads = _axes(results)
    figure = Figure(figsize=(1 + 4.2 * len(tasks), 4.0), dpi=110, layout="constrained")
    count = len(results.accuracy)
    for axes, task in zip(figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0], tasks, strict=True):
        for number, (who, found) in enumerate(results.accuracy.items()):
            scores = [found[f"{head} {task}"] for head in heads]
            places = np.arange(len(heads)) + 0.8 * ((number + 0.5) / count - 0.5)
            low, high = np.array([score.ci95_bootstrap for score in scores]).T
            values = np.array([score.value for score in scores])
            axes.bar(places, values, 0.8 / count, color=f"C{number}", label=who)
            errors = [(values - low).clip(0), (high - values).clip(0)]
            axes.errorbar(places, values, errors, fmt="none", ecolor="black", lw=0.8)
        axes.axhline(results.chance[task.split()[-1]], color="black", ls=":", lw=0.8, label="chance")
        axes.set_xticks(range(len(heads)), heads)
        axes.set_title(f"{results.protocol['name']}, {task}", size=9)
    figure.axes[0].set_ylabel("accuracy over episodes")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
    write_atomically(path, FigureCanvasAgg(figure).print_png)
