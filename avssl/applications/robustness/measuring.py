"""The measurement behind ``avssl robustness``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avssl.applications.robustness.heads import with_noise
from avssl.applications.robustness.odd import Divided, halves, judged
from avssl.applications.robustness.results import HANDMADE, SCRATCH, TUNED, TURNS, Robustness, Standing, picture
from avssl.applications.robustness.testing import CLEAN, Answers, answers, damages
from avssl.applications.robustness.training import Trainer, fit_handmade, handmade
from avssl.catalog.index import open_manifest
from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.budget import Budget
from avssl.evaluation.calibration import reliability
from avssl.evaluation.features import ViewDataset, Views
from avssl.evaluation.given import place
from avssl.evaluation.metrics import bootstrap, interval, units_of
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.record import environment
from avssl.evaluation.results import Score, to_json
from avssl.evaluation.settings import plain
from avssl.evaluation.splits import GroupFolds, TrainTest
from avssl.evaluation.training_clips import Pixels
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.runtime.processes import tell

DRAWS = 500  # resamples for the interval of the calibration error
RANGES = {
    "label_noise": "[0, 1)",
    **dict.fromkeys(("attacks", "turn_weight"), "(0, inf)"),
    **dict.fromkeys(("attacked", "divisions"), "[0, inf)"),
    "folds": "[1, inf)",
}
Ints = NDArray[np.int64]


def measure_robustness(
    train: Path,
    run: Path,
    test: Path | None = None,
    split: GroupFolds = GroupFolds(),  # noqa: B008
    folds: int | None = None,
    views: Views = Views(clips=3, num_frames=8, step=0.2, size=64, fit="crop"),  # noqa: B008
    budget: Budget = Budget(steps=300, batch_size=32),  # noqa: B008
    label_noise: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6),
    turn_weight: float = 0.5,
    attacks: tuple[float, ...] = (1.0, 8.0),
    attacked: int = 100,
    divisions: int = 2,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
    out: Path | None = None,
) -> Robustness:
    """Measure how classifiers stand wrong labels, damage and attacks, and whether they notice strange classes.

    Writes ``robustness.json`` and ``robustness.png`` into a folder and returns the content of the first.

    Args:
        train: labelled videos or images: a folder of class folders, or a manifest with labels.
        run: a run folder with an exported encoder, or an export folder.
        test: the same, of the same classes; None divides ``train`` by ``split``.
        split: folds; only if there is no ``test``.
        folds: number of folds to run, spread evenly over them; None for all.
        views: clips of a video. A squashed picture tells its turn by its shape: ``fit: crop``.
        budget: schedule of every classifier.
        label_noise: shares of the training labels that are made wrong; test labels never are.
        turn_weight: weight of the turn task beside the class (Hendrycks et al.: 0.5).
        attacks: largest changes of a pixel under attack, in 255ths of white.
        attacked: number of test videos that are attacked, spread evenly over them.
        divisions: random divisions of the classes into halves, of which one is left out of training; 0 leaves strange
            classes out.
        machine: device, workers and memory.
        encoder: an encoder instead of the run's, by its class; it is exported to ``<run>/encoder``.
        out: folder to write to; None is ``<run>/robustness/<collection>``.

    Raises:
        FileNotFoundError: if there is no encoder.
        MediaError: if a collection or a video can't be read.
        ValueError: if a video shows several classes or none, there are fewer than two, a group is on both sides, or a
            number is out of range.
    """
    begun = time.perf_counter()
    check_ranges("", locals(), **RANGES)
    if not label_noise:
        raise ValueError("label_noise is empty: give at least one share, 0 for labels as they are")
    encoder = load_encoder(run) if encoder is None else place(encoder, run, views.size)
    named = train.resolve()
    name = f"robustness_{named.parent.name if named.is_file() or test is not None else named.name}"
    how = split if test is None else TrainTest(len(open_manifest(train)))
    data = LabelledVideos(train if test is None else (train, test))
    task = DownstreamTask(Protocol(name, data, how, views))
    if task.several:
        raise ValueError(f"{train}: some video shows several classes, or none: one each is needed")
    parts = task.folds.spread(folds).folds
    trainer = Trainer(encoder, budget, turn_weight)
    pixels = task.pixels(machine)
    tested = np.concatenate([fold.test for fold in parts])
    chosen = tested[np.linspace(0, len(tested) - 1, min(attacked, len(tested))).round().astype(int)]
    said: dict[tuple[str, float], list[list[Answers]]] = {}  # by kind and share; for each seed, one per fold
    strange: list[list[Divided]] = [[] for _ in range(divisions)]
    divided = halves(len(task.videos.classes), divisions)
    for fold in parts:
        rows = np.array(fold.train)
        described = described_rows(pixels, rows)
        kinds = [(kind, share, seed) for kind in KINDS for share in label_noise for seed in range(budget.seeds)]
        networks = []
        for kind, share, seed in kinds:
            tell(f"{fold.name}: {kind}, {share:g} of the labels wrong")
            noisy = with_noise(task.labels, rows, share, task.classes, seed)
            networks.append(trainer.train(kind, replace(pixels, labels=noisy), rows, seed))
        bases = [(HANDMADE, share, seed) for share in label_noise for seed in range(budget.seeds)]
        noisy_labels = [with_noise(task.labels, rows, share, task.classes, seed)[rows] for _, share, seed in bases]
        baselines = [fit_handmade(described, labels) for labels in noisy_labels]
        every = answers(networks, baselines, pixels, np.array(fold.test), attacks, chosen.tolist())
        for (kind, share, seed), one in zip((*kinds, *bases), every, strict=True):
            by_seed = said.setdefault((kind, share), [[] for _ in range(budget.seeds)])
            by_seed[seed].append(one)
        for place_of, inside in enumerate(divided):
            tell(f"{fold.name}: classes {', '.join(task.videos.classes[label] for label in inside)} alone")
            strange[place_of].append(judged(trainer, pixels, described, rows, np.array(fold.test), inside))
    groups = task.groups[tested]
    heads = _standings(said, task.labels[tested], groups, damages(views.num_frames), np.isin(tested, chosen))
    facts = {key: value for key, value in task.facts.items() if key != "split"}
    settings = {
        "budget": plain(budget),
        "turn_weight": turn_weight,
        "label_noise": list(label_noise),
        "folds": [fold.name for fold in parts],
        "attacked": len(chosen),
    }
    odd = Divided.summary(strange, [[task.videos.classes[label] for label in one] for one in divided], groups)
    chance = float(np.bincount(task.labels[tested]).max() / len(tested))
    words = environment(machine, begun)
    found = Robustness(run.resolve().name, encoder.card, facts, settings, chance, heads, odd, words)
    folder = run / "robustness" / name.removeprefix("robustness_") if out is None else out
    write_text(folder / "robustness.json", json.dumps(to_json(found), indent=1))
    picture(found, folder / "robustness.png")
    return found


KINDS = (SCRATCH, TUNED, TURNS)


def described_rows(pixels: Pixels, rows: Ints) -> NDArray[np.float32]:
    """Return hand-made features ``[N, D]`` of videos."""
    loader = pixels.machine.loader(ViewDataset(pixels.videos, rows.tolist(), pixels.views))
    return np.stack([handmade(clips[0]) for clips in loader])


def _standings(
    said: Mapping[tuple[str, float], Sequence[Sequence[Answers]]],
    labels: Ints,
    groups: Ints,
    kinds: Mapping[str, Sequence[str]],
    chosen: NDArray[np.bool_],
) -> dict[str, dict[str, Standing]]:
    """Score what classifiers said, one list of folds per seed: by kind and share of wrong labels."""
    names = groups.tolist()
    right: dict[tuple[str, float], dict[str, NDArray[np.float64]]] = {}
    for key, runs in said.items():
        right[key] = {}
        for name in runs[0][0].probabilities:
            given = np.stack([np.concatenate([one.probabilities[name] for one in run]) for run in runs])  # [S, V, K]
            truth = labels if given.shape[1] == len(labels) else labels[chosen]
            right[key][name] = (given.argmax(2) == truth).astype(np.float64)
        right[key]["damaged"] = np.mean([right[key][one] for each in kinds.values() for one in each], axis=0)
    found: dict[str, dict[str, Standing]] = {}
    for (kind, share), marks in right.items():
        base = right[SCRATCH, share]
        gained = {} if kind == SCRATCH else {part: marks[part] - base[part] for part in (CLEAN, "damaged")}
        clean = np.stack([np.concatenate([one.probabilities[CLEAN] for one in run]) for run in said[kind, share]])
        few = groups[chosen].tolist()
        found.setdefault(kind, {})[f"{share:g}"] = Standing(
            _score(marks[CLEAN], names),
            _score(marks["damaged"], names),
            {of: {one.split()[1]: _score(marks[one], names) for one in each} for of, each in kinds.items()},
            {name: _score(values, few) for name, values in marks.items() if name.endswith("/255")},
            calibration_error(clean, labels, groups),
            {part: _score(values, names) for part, values in gained.items()},
        )
    return found


def _score(values: NDArray[np.float64], groups: list[int]) -> Score:
    return Score(float(values.mean()), bootstrap(values, groups, 0))


def calibration_error(probabilities: NDArray[np.float64], labels: Ints, groups: Ints) -> Score:
    """Return the expected calibration error, the mean over seeds, of ``[S, V, K]``; its interval draws whole groups."""

    def error(rows: Ints) -> float:
        return float(np.mean([reliability(one[rows], labels[rows]).error for one in probabilities]))

    units, rng = units_of(groups.tolist()), np.random.default_rng(0)
    members = [np.flatnonzero(units == unit) for unit in range(units.max() + 1)]
    drawn = (rng.integers(len(members), size=len(members)) for _ in range(DRAWS))
    spread = [error(np.concatenate([members[unit] for unit in some])) for some in drawn]
    return Score(error(np.arange(len(labels))), interval(spread))
