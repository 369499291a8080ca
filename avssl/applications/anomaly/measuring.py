"""How well odd classes are told from normal ones: each class in turn is the only normal one, or the only odd one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

from avssl.applications.anomaly.detectors import Detector, networks
from avssl.applications.anomaly.pictures import areas_picture
from avssl.applications.anomaly.scoring import OF_FEATURES, How, Reals
from avssl.applications.detection import areas
from avssl.applications.subjects import handmade
from avssl.catalog.index import open_manifest
from avssl.encoders import Encoder
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.images import still
from avssl.evaluation.metrics import interval
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.readout import Bank, at_rows
from avssl.evaluation.record import random_init
from avssl.evaluation.report import cell
from avssl.evaluation.results import Score, to_json
from avssl.evaluation.splits import TrainTest
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text

Normal: TypeAlias = Literal["one", "rest"]
CLASS = "{class}"


@dataclass(frozen=True)
class OneClassResults:
    """Content of ``anomaly.json``.

    Attributes:
        protocol: identity of the protocol.
        normal: ``one`` if a single class was normal, ``rest`` if all others were.
        chance: 0.5.
        mean: mean area over classes, by detector.
        per_class: area by detector and class.
        gain: of the mean areas of runs over each baseline, on the same videos.
        seconds: how long it took.
    """

    protocol: Mapping[str, Any]
    normal: Normal
    chance: float
    mean: Mapping[str, Score]
    per_class: Mapping[str, Mapping[str, Score]]
    gain: Mapping[str, Score]
    seconds: float


def one_class(
    protocol: Protocol,
    runs: Sequence[str],
    out: Path,
    machine: Machine = Machine(),  # noqa: B008
    normal: Normal = "rest",
) -> OneClassResults:
    """Measure detectors of odd classes; write ``anomaly.json`` and ``anomaly.png`` into ``out``.

    In each fold, detectors are fitted to the training videos of the normal classes and score all test videos, whose
    groups they have not seen. A video's score is the mean over its views. Nothing is tuned.

    Args:
        protocol: labelled videos, split and views.
        runs: run folders; one with ``{class}`` in its path stands for a run per class, trained on what is normal then.
        out: folder of the results.
        machine: device, workers and cache.
        normal: one class at a time, or all but one.

    Raises:
        FileNotFoundError, MediaError, ValueError: see `avssl.evaluation.run.evaluate`; ValueError also if videos show
            several classes or none.
    """
    begun = time.perf_counter()
    task = DownstreamTask(protocol)
    if task.several:
        raise ValueError(f"{protocol.name}: a class can be odd only if videos show one each; some show several or none")
    every = [each for run in runs for each in of_run(task, run, normal, machine)] + by_hand(task, machine)
    found = {
        each.name: np.stack([_scores(task, each, which, normal) for which in range(task.classes)]) for each in every
    }
    tested = [row for fold in task.folds.folds for row in fold.test]
    labels, groups = task.labels[tested], task.groups[tested].tolist()
    odd = np.stack([(labels == which) == (normal == "rest") for which in range(task.classes)])
    measured = {name: areas(scores, odd, groups) for name, scores in found.items()}
    names = task.videos.classes
    baselines = [each.name for each in every if each.baseline]
    results = OneClassResults(
        protocol=task.facts,
        normal=normal,
        chance=0.5,
        mean={name: Score(float(value.mean()), _interval(draws.mean(1))) for name, (value, draws) in measured.items()},
        per_class={
            name: {label: Score(float(value[place]), _interval(draws[:, place])) for place, label in enumerate(names)}
            for name, (value, draws) in measured.items()
        },
        gain={
            f"{ours} over {base}": Score(
                float((measured[ours][0] - measured[base][0]).mean()),
                _interval((measured[ours][1] - measured[base][1]).mean(1)),
            )
            for ours in measured
            for base in baselines
            if ours not in baselines
        },
        seconds=round(time.perf_counter() - begun, 1),
    )
    write_text(out / "anomaly.json", json.dumps(to_json(results), indent=1))
    areas_picture(results.per_class, results.mean, protocol.name, out / "anomaly.png")
    return results


def _interval(draws: Reals) -> tuple[float, float]:
    return interval(draws) if len(draws) else (0.0, 1.0)


def _scores(task: DownstreamTask, detector: Detector, which: int, normal: Normal) -> Reals:
    """Return a score of each tested video, fold after fold, if class ``which`` is the normal or the odd one."""
    found = []
    for fold in task.folds.folds:
        train = [row for row in fold.train if (task.labels[row] == which) == (normal == "one")]
        if not train:
            raise ValueError(
                f"split {fold.name}: no training video of what is normal if {task.videos.classes[which]!r} is the "
                f"{'only normal' if normal == 'one' else 'odd'} class. Use fewer folds, or more videos"
            )
        found.append(detector.scores(train, fold.test, which).mean(1))
    return np.concatenate(found)


def of_run(task: DownstreamTask, run: str, normal: Normal, machine: Machine) -> list[Detector]:
    """Return the detectors of a run, or of a run per class, and of the same network untrained."""
    name = Path(run).name.replace(CLASS, "class")
    per_class = CLASS in run
    folders = [Path(run.replace(CLASS, label)) for label in (task.videos.classes if per_class else [""])]
    banks: dict[str, list[list[Bank]]] = {}
    kinds: dict[str, Sequence[How]] = {}
    untrained: list[Bank] = []
    tested = {row for fold in task.folds.folds for row in fold.test}
    for which, folder in enumerate(folders):
        rows = [
            row
            for row in task.rows
            if not per_class or (task.labels[row] == which) == (normal == "one") or row in tested
        ]
        for part, (network, hows) in networks(folder).items():
            banks.setdefault(part, []).append([read(task, network, rows, machine)])
            kinds[part] = hows
            if part == "encoder" and which == 0:
                fresh = [random_init(network, seed) for seed in task.protocol.seeds]
                untrained = [read(task, each, task.rows, machine) for each in fresh]
    found = [
        Detector(f"{name} {how}", how, _spread(banks[part], task.classes))
        for part, hows in kinds.items()
        for how in hows
    ]
    if untrained:
        title = f"untrained {name}"
        found += [Detector(f"{title} {how}", how, _spread([untrained], task.classes), True) for how in OF_FEATURES]
    return found


def by_hand(task: DownstreamTask, machine: Machine) -> list[Detector]:
    """Return the detectors that read hand-made features."""
    return [
        Detector(f"{each.name} {how}", how, _spread([each.banks], task.classes), True)
        for each in handmade(task, machine)
        for how in OF_FEATURES
    ]


def read(task: DownstreamTask, network: Encoder, rows: Sequence[int], machine: Machine) -> Bank:
    """Return the features of some of a task's videos; a frame encoder's segments are averaged."""
    values = extract_features(network, task.videos, rows, task.protocol.views, machine)
    bank = task.bank(at_rows(values, rows, len(task.videos)), str(machine.target))
    return bank.over_time(network.num_features) if network.per_frame else bank


def _spread(banks: Sequence[Sequence[Bank]], classes: int) -> list[Sequence[Bank]]:
    """Return banks for each class, of one for all or of one each."""
    return list(banks) if len(banks) == classes else [banks[0]] * classes


def print_one_class(results: OneClassResults, console: Console | None = None) -> None:
    """Print the areas of each detector, and gains, with their 95 % intervals."""
    console = console or Console(width=120)
    kind = "one class normal, all others odd" if results.normal == "one" else "one class odd, all others normal"
    title = f"AUROC on {results.protocol['name']} ({results.protocol['videos']} recordings), {kind}; chance 0.5"
    labels = list(next(iter(results.per_class.values())))
    table = Table("detector", "mean", *labels, title=title)
    for name, score in results.mean.items():
        table.add_row(name, cell(score), *(f"{results.per_class[name][label].value:.2f}" for label in labels))
    console.print(table)
    table = Table("gain of the mean", "AUROC")
    for name, score in results.gain.items():
        table.add_row(name, cell(score, "+"))
    console.print(table)


def images_protocol(train: Path, test: Path, size: int, seeds: tuple[int, ...]) -> Protocol:
    """Return the protocol of two collections of images of the same classes, squashed to squares."""
    return Protocol(
        name=f"odd_{train.resolve().parent.name}",
        data=LabelledVideos((train, test)),
        split=TrainTest(len(open_manifest(train))),
        views=still(size),
        seeds=seeds,
    )
