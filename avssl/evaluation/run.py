"""One encoder through one protocol, beside the same network untrained: the numbers of ``results.json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.features import Normalise, features
from avssl.evaluation.finetune import AttentiveClassifier, Budget, Classifier, LabelledClips, fit, predict
from avssl.evaluation.metrics import Prediction, bootstrap, summarise
from avssl.evaluation.pictures import confusion_picture, low_shot_picture
from avssl.evaluation.probes import Bank, LinearProbe, NearestNeighbours, draw_labels, retrieval_hits
from avssl.evaluation.protocol import Protocol, Task
from avssl.evaluation.record import record, remembered, untrained
from avssl.evaluation.splits import Fold
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally

Factory = Callable[[int], Encoder]  # seed -> the encoder to start from
Draw = Callable[[Fold, int], tuple[int, ...] | None]  # fold, seed -> training videos


def evaluate(protocol: Protocol, run: str | Path, machine: Machine = Machine()) -> dict[str, Any]:  # noqa: B008
    """Judge the encoder of a run; writes ``<run>/eval/<protocol>/results.json`` and pictures.

    Args:
        protocol: what is measured, and how.
        run: a run folder with an exported encoder, or an export folder.
        machine: where; does not change what is measured.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: where there is no encoder or no split file.
        MediaError: where the collection or a video can't be read.
        ValueError: where the encoder or the collection does not fit the protocol.
    """
    begun = time.perf_counter()
    encoder = load_encoder(run)
    task = Task(protocol)
    found = {"pretrained": judge(task, [encoder], machine), **baselines(task, encoder, machine)}
    results = record(run, encoder, task.facts, task.settings, task.chance(), found, machine, begun)
    folder = Path(run) / "eval" / protocol.name
    pretrained = results["results"]["pretrained"]
    for name, summary in pretrained.items():
        if name in ("linear", "linear_ordered", "linear_sequence", "fine_tune", "attentive"):
            confusion_picture(summary["confusion"], task.videos.classes, folder / f"confusion_{name}.png")
    if protocol.low_shot is not None:
        low_shot_picture(results, folder / "low_shot.png")
    return results


def baselines(task: Task, encoder: Encoder, machine: Machine) -> dict[str, Any]:
    """The same network at random initialisation, and trained from scratch under the budget of fine-tuning.

    Every run with the same network shares them, through the cache.
    """

    def make() -> dict[str, Any]:
        fresh = [untrained(encoder, seed) for seed in task.protocol.seeds]
        found = {"random_init": judge(task, fresh, machine, frozen_only=True)}
        scratch = trained(task, lambda seed: untrained(encoder, seed), machine, "from scratch")
        return found | ({"from_scratch": scratch} if scratch else {})

    return remembered(encoder, task.facts, task.settings, machine, make)


def judge(task: Task, encoders: Sequence[Encoder], machine: Machine, frozen_only: bool = False) -> dict[str, Any]:
    """Every read-out of one encoder, or of several seeds of it.

    Args:
        task: the protocol.
        encoders: the seeds; read-outs that train the network take the first.
        machine: where.
        frozen_only: leave those out.
    """
    kinds: dict[str, list[Bank]] = {"": [bank(task, encoder, machine) for encoder in encoders]}
    if encoders[0].per_frame:
        kinds["_ordered"] = kinds[""]
        kinds[""] = [_over_time(task, ordered, encoders[0].num_features) for ordered in kinds["_ordered"]]
    found: dict[str, Any] = {}
    for kind, banks in kinds.items():
        found |= {f"{name}{kind}": value for name, value in frozen(task, banks).items()}
    protocol = task.protocol
    if protocol.linear is not None and protocol.views.clips > 1:
        sequences = [values.in_sequence(protocol.views.crops) for values in kinds[""]]
        found["linear_sequence"] = probed(task, sequences, protocol.linear)
    if protocol.low_shot is not None:
        found["low_shot"] = {str(shots): low_shot(task, kinds[""], shots) for shots in protocol.low_shot.shots}
    if protocol.attentive is not None:
        found["attentive"] = train_folds(
            task, lambda seed: encoders[seed % len(encoders)], protocol.attentive, machine, "attentive", attentive=True
        )
    if not frozen_only:
        weights = encoders[0].state_dict()

        def again(seed: int) -> Encoder:
            fresh = untrained(encoders[0], seed)
            fresh.load_state_dict(weights)
            return fresh

        found |= trained(task, again, machine, "fine-tuning")
    return found


def bank(task: Task, encoder: Encoder, machine: Machine) -> Bank:
    """Features of the protocol's videos; a frame encoder's segments are laid end to end, ``[V, M, S * D]``."""
    values = features(encoder, task.videos, task.rows, task.protocol.views, machine).flatten(2).numpy()
    full = np.zeros((len(task.videos), *values.shape[1:]), dtype=np.float32)
    full[task.rows] = values
    return Bank(full, task.labels, task.groups, task.classes)


def _over_time(task: Task, ordered: Bank, width: int) -> Bank:
    values = ordered.features
    return replace(ordered, features=values.reshape(*values.shape[:2], -1, width).mean(2))


def frozen(task: Task, banks: Sequence[Bank]) -> dict[str, Any]:
    """The read-outs that need features only; one bank a seed."""
    protocol, folds, found = task.protocol, task.folds.folds, {}
    for name, probe in (("linear", protocol.linear), ("neighbours", protocol.neighbours)):
        if probe is not None:
            found[name] = probed(task, banks, probe)
    if protocol.retrieval:
        hits = np.stack(
            [np.concatenate([retrieval_hits(values, fold, protocol.retrieval) for fold in folds]) for values in banks]
        ).astype(np.float64)  # [seeds, all tested videos, ranks]
        tested = [task.folds.groups[row] for fold in folds for row in fold.test]
        found["retrieval"] = {
            f"R@{rank}": {"value": float(hits[..., i].mean()), "ci95_bootstrap": bootstrap(hits[..., i], tested, 0)}
            for i, rank in enumerate(protocol.retrieval)
        }
    return found


def probed(task: Task, banks: Sequence[Bank], probe: LinearProbe | NearestNeighbours) -> dict[str, Any]:
    """A read-out of every fold, with what it chose there; one bank a seed."""
    runs, chosen = [], []
    for values in banks:
        outcomes = [probe.scores(values, fold) for fold in task.folds.folds]
        runs.append(
            [_prediction(task, fold, scores) for fold, (scores, _) in zip(task.folds.folds, outcomes, strict=True)]
        )
        chosen.append([choice for _, choice in outcomes])
    return summarise(runs, task.folds.groups) | {"chosen": chosen}


def low_shot(task: Task, banks: Sequence[Bank], shots: int) -> dict[str, Any]:
    """The linear probe on ``shots`` labels a class; features are scaled on all training videos, without labels."""
    config = task.protocol.low_shot
    assert config is not None
    probe, runs = LinearProbe(), []
    for values in banks:
        for draw in range(config.draws):
            run = []
            for fold in task.folds.folds:
                drawn = draw_labels(values, fold, shots, draw)
                if drawn is None:
                    return {"skipped": f"{fold.name}: a class has fewer than {shots} training videos"}
                scores = probe.fit_predict(values, drawn, fold.test, config.strength, scale_on=fold.train)
                run.append(_prediction(task, fold, scores))
            runs.append(run)
    return summarise(runs, task.folds.groups)


def trained(task: Task, make: Factory, machine: Machine, title: str) -> dict[str, Any]:
    """The read-outs that train the whole network: on all labels, and on few."""
    found: dict[str, Any] = {}
    if task.protocol.fine_tune is not None:
        found["fine_tune"] = train_folds(task, make, task.protocol.fine_tune, machine, title)
    few = task.protocol.low_shot
    if few is not None and few.fine_tune is not None:
        labels = Bank(np.zeros((len(task.videos), 1, 1), np.float32), task.labels, task.groups, task.classes)
        found["low_shot_fine_tune"] = {}
        for shots in few.fine_tune_shots:

            def draw(fold: Fold, seed: int, shots: int = shots) -> tuple[int, ...] | None:
                return draw_labels(labels, fold, shots, seed)

            words = f"{title}, {shots} label(s) a class"
            found["low_shot_fine_tune"][str(shots)] = train_folds(task, make, few.fine_tune, machine, words, draw)
    return found


def train_folds(
    task: Task,
    make: Factory,
    budget: Budget,
    machine: Machine,
    title: str,
    draw: Draw = lambda fold, seed: fold.train,
    attentive: bool = False,
) -> dict[str, Any]:
    """Train a classifier for every seed and fold, and test it.

    Args:
        task: the protocol.
        make: gives the encoder to start from.
        budget: how long, how, how many seeds and folds.
        machine: where.
        title: for the progress bar.
        draw: which training videos are used; None where a class has too few.
        attentive: freeze the encoder and read its maps by attention.
    """
    folds = budget.choose(task.folds.folds)
    decoded = task.decoded(machine)
    runs = []
    with Tally(title, budget.seeds * len(folds)) as tally:
        for seed in range(budget.seeds):
            run = []
            for fold in folds:
                rows = draw(fold, seed)
                if rows is None:
                    return {"skipped": f"{fold.name}: a class has too few training videos"}
                encoder = make(seed)
                statistics = Normalise(encoder.card["mean"], encoder.card["std"], machine.target)
                model = train_once(task, encoder, rows, budget, statistics, machine, decoded, seed, attentive)
                scores = predict(model, task.videos, fold.test, task.protocol.views, statistics, machine)
                run.append(_prediction(task, fold, scores))
                tally.add("folds")
            runs.append(run)
    return summarise(runs, task.folds.groups)


def train_once(
    task: Task,
    encoder: Encoder,
    rows: Sequence[int],
    budget: Budget,
    mean_std: Normalise,
    machine: Machine,
    decoded: Tensor | None,
    seed: int,
    attentive: bool = False,
) -> nn.Module:
    """A classifier on an encoder, trained on some videos; ``model.encoder`` is the encoder, on the device.

    Args:
        task: the protocol.
        encoder: to start from; it is trained itself unless ``attentive``.
        rows: positions of the training videos.
        budget: how long and how.
        mean_std: normalisation.
        machine: where.
        decoded: see `LabelledClips`.
        seed: of the head, the order and the shifts.
        attentive: freeze the encoder and read its maps by attention.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind: type[nn.Module] = AttentiveClassifier if attentive else Classifier
        model = kind(encoder, task.classes).to(machine.target)
    data = LabelledClips(task.videos, task.protocol.views, budget, decoded, seed)
    fit(model, data, rows, budget, mean_std, machine)
    return model


def _prediction(task: Task, fold: Fold, scores: Any) -> Prediction:
    test = np.asarray(fold.test)
    return Prediction(fold.name, fold.part, test, task.labels[test], scores)
