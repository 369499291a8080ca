"""Evaluation of an encoder under one protocol, beside the same network at random initialisation and from scratch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from avssl.encoders import Encoder, load_encoder
from avssl.encoders.initial import RANDOM
from avssl.evaluation.attentive import AttentiveProbe
from avssl.evaluation.episodes import Episodes
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import AttentiveClassifier, Budget, FrozenClassifier, Start, Supervised
from avssl.evaluation.given import place
from avssl.evaluation.layout import LayoutMean, LayoutProbe
from avssl.evaluation.pictures import confusion_picture, low_shot_picture
from avssl.evaluation.probes import FewLabels, LinearProbe, retrieval
from avssl.evaluation.protocol import DownstreamTask, LowShot, Protocol
from avssl.evaluation.readout import Bank, TooFewLabels
from avssl.evaluation.record import cached_baselines, random_init, write_results
from avssl.evaluation.results import Outcome, Outcomes, Results, Skipped, Summary
from avssl.evaluation.trial import Trial, measure
from avssl.runtime.device import Machine
from avssl.runtime.processes import joined, on_first, rank

NOT_ALIKE = Skipped("videos show several classes or none, so two of them are not simply of the same class or not")
NOT_DRAWN = Skipped("videos show several classes or none, so no number of labels per class can be drawn")
# Read-outs with a picture:
CONFUSIONS = (
    "linear",
    "linear_ordered",
    "linear_sequence",
    "layout",
    "layout_mean",
    "attentive",
    "attentive_probe",
    "fine_tune",
    "linear_augmented",
)
UNFINISHED = "unfinished"  # folder of what an evaluation that was stopped resumes from


def evaluate(
    protocol: Protocol,
    run: str | Path,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
    own_size: bool = False,
) -> Results:
    """Evaluate the encoder of a run, write ``<run>/eval/<protocol>/results.json`` and pictures, return the results.

    Processes started together (``torchrun``) share the extraction of features and the training of networks; the first
    one reads frozen features. The same call after a stop goes on where it was.

    Args:
        protocol: data, split, views and read-outs.
        run: a run folder with an exported encoder, or an export folder.
        machine: device, workers and cache; does not change what is measured.
        encoder: an encoder instead of the run's, such as a pretrained one of another library. It is exported to
            ``<run>/encoder``, so that ``run`` then is a run folder for every other command.
        own_size: show clips at the size on the encoder's card. Results of several sizes can't share a table.

    Raises:
        FileNotFoundError: if there is no encoder or no split file.
        MediaError: if the collection or a video can't be read.
        ValueError: if the encoder or the collection does not fit the protocol.
    """
    begun = time.perf_counter()
    with joined():
        encoder, protocol = subject(protocol, run, encoder, own_size)
        folder = Path(run) / "eval" / protocol.name
        task = DownstreamTask(protocol, folder / UNFINISHED)
        outcomes = {"pretrained": run_read_outs(task, [encoder], machine), **baselines(task, encoder, machine)}

        def write() -> Results:
            found = write_results(run, encoder, task.facts, task.settings, task.chance(), outcomes, machine, begun)
            draw(found, task, folder)
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            return found

        return on_first(write, "the results")


def draw(results: Results, task: DownstreamTask, folder: Path) -> None:
    """Write the pictures of results: confusion matrices, and accuracy by the number of labels."""
    for name, summary in results.outcomes["pretrained"].items():
        if name in CONFUSIONS and isinstance(summary, Summary):
            confusion_picture(summary.confusion, task.videos.classes, folder / f"confusion_{name}.png")
    if task.protocol.low_shot is not None and not task.several:
        low_shot_picture(results, folder / "low_shot.png")


def subject(protocol: Protocol, run: str | Path, encoder: Encoder | None, own_size: bool) -> tuple[Encoder, Protocol]:
    """Return the encoder to evaluate, the run's or the given one, and the protocol at the size asked for.

    Raises:
        FileNotFoundError: if no encoder is given and the run has none.
        ValueError: if the run has another encoder than the given one, or its own size is no square.
    """
    views = protocol.views
    found = load_encoder(run) if encoder is None else place(encoder, run, views.size)
    height, width = found.card["size"]
    if not own_size:
        if (height, width) != (views.size, views.size) and rank() == 0:
            print(
                f"note: {protocol.name} shows {views.size} x {views.size} pixels; the encoder is used to {height} x "
                f"{width} (--own_size=true shows it those)"
            )
        return found, protocol
    if height != width:
        raise ValueError(f"{run}: the encoder's frames are {height} x {width}, but views are square: set views.size")
    return found, replace(protocol, views=replace(views, size=height))


def baselines(task: DownstreamTask, encoder: Encoder, machine: Machine) -> Outcomes:
    """Evaluate the same network at random initialisation, and trained from scratch with the budget of fine-tuning.

    All runs with the same network share them through the cache. An encoder without weights has no untrained version.
    """
    if next(encoder.parameters(), None) is None:
        return {}

    def make() -> Outcomes:
        fresh = [random_init(encoder, seed) for seed in task.protocol.seeds]
        found = {"random_init": run_read_outs(task, fresh, machine, frozen_only=True)} if fresh else {}
        scratch = train_network(task, partial(random_init, encoder), machine, "from scratch")
        return found | ({"from_scratch": scratch} if scratch else {})

    return cached_baselines(encoder, task.facts, task.settings, machine, make)


def run_read_outs(
    task: DownstreamTask, encoders: Sequence[Encoder], machine: Machine, frozen_only: bool = False
) -> dict[str, Outcome]:
    """Run every read-out of a protocol on the seeds of an encoder; fine-tuning, unless left out, takes the first."""
    trial = Trial(task, encoders, machine)
    trial.extract()
    found: dict[str, Outcome] = {}
    for key, read in READ_OUTS:
        if (setting := getattr(task.protocol, key)) not in (None, ()):
            made = partial(read, trial, setting)
            found |= made() if key in TOGETHER else on_first(made, f"the results of {key}")
    if not frozen_only:
        weights = encoders[0].state_dict()

        def copy(seed: int) -> Encoder:
            fresh = random_init(encoders[0], seed)
            fresh.load_state_dict(weights)
            return fresh

        found |= train_network(task, copy, machine, "fine-tuning", pretrained=True)
    return found


def train_network(
    task: DownstreamTask, start: Start, machine: Machine, title: str, pretrained: bool = False
) -> dict[str, Outcome]:
    """Run the read-outs that train the whole network; one that is ``pretrained`` begins where it is."""
    found: dict[str, Outcome] = {}
    for key, train in TRAINED:
        if (setting := getattr(task.protocol, key)) is not None:
            found |= train(task, start, _as_it_is(setting) if pretrained else setting, machine, title)
    return found


def _as_it_is(setting: Budget | LowShot) -> Budget | LowShot:
    """Return a schedule, or the schedule of few labels, without other first weights than the network has."""
    if isinstance(setting, Budget):
        return replace(setting, initial=RANDOM)
    return replace(setting, fine_tune=setting.fine_tune and replace(setting.fine_tune, initial=RANDOM))


def frozen(task: DownstreamTask, banks: Sequence[Bank]) -> dict[str, Outcome]:
    """Run the read-outs of the protocol that need features only, on one bank per seed."""
    protocol = task.protocol
    found: dict[str, Outcome] = {}
    if protocol.linear is not None:
        found["linear"] = task.measure([protocol.linear], banks)
    if protocol.neighbours is not None:
        found["neighbours"] = task.measure([protocol.neighbours], banks)
    if protocol.retrieval:
        found["retrieval"] = NOT_ALIKE if task.several else retrieval(banks, task.folds, protocol.retrieval)
    return found


def _each_view(trial: Trial, _: Views) -> dict[str, Outcome]:
    """Read every view of a video on its own and, if `Protocol.ordered`, also a frame encoder's segments in order."""
    found = frozen(trial.task, trial.banks)
    if trial.task.protocol.ordered and trial.encoders[0].per_frame:
        found |= {f"{name}_ordered": value for name, value in frozen(trial.task, trial.segments).items()}
    return found


def _sequence(trial: Trial, probe: LinearProbe) -> dict[str, Outcome]:
    """Read a video's clips in their order."""
    task = trial.task
    if task.protocol.views.clips == 1 or not task.protocol.ordered:
        return {}
    sequences = [bank.in_sequence(task.protocol.views.crops) for bank in trial.banks]
    return {"linear_sequence": task.measure([probe], sequences)}


def _inner_layers(trial: Trial, layers: Sequence[int]) -> dict[str, Outcome]:
    """Read inner layers one by one, their maps averaged."""
    found: dict[str, Outcome] = {}
    for layer, banks in zip(layers, trial.layers, strict=True):
        found |= {f"{name}_layer{layer}": value for name, value in frozen(trial.task, banks).items()}
    return found


def _few_labels(trial: Trial, few: LowShot) -> dict[str, Outcome]:
    task = trial.task
    draws = {str(n): [FewLabels(n, draw, few.strength) for draw in range(few.draws)] for n in few.shots}
    return {
        "low_shot": NOT_DRAWN
        if task.several
        else {shots: measure(task, read_outs, trial.banks, task.folds) for shots, read_outs in draws.items()}
    }


def _attentive(trial: Trial, budget: Budget) -> dict[str, Outcome]:
    encoders = trial.encoders
    probe = Supervised(lambda seed: encoders[seed % len(encoders)], budget, classifier=AttentiveClassifier)
    return {"attentive": _train(trial.task, probe, trial.machine, "attentive")}


def _episodes(trial: Trial, episodes: Episodes) -> dict[str, Outcome]:
    if trial.task.several:
        return {"episodes": NOT_DRAWN}
    try:
        return {"episodes": episodes.measure(trial.banks, trial.task.folds, trial.machine.target)}
    except TooFewLabels as error:
        return {"episodes": Skipped(str(error))}


def _layout(trial: Trial, probe: LayoutProbe) -> dict[str, Outcome]:
    return {"layout": trial.task.measure([probe], trial.layouts(probe))}


def _layout_mean(trial: Trial, probe: LayoutMean) -> dict[str, Outcome]:
    return {"layout_mean": trial.task.measure([probe], trial.layouts(probe))}


def _attentive_probe(trial: Trial, probe: AttentiveProbe) -> dict[str, Outcome]:
    return {"attentive_probe": trial.task.measure([probe], trial.tokens(probe), title="attentive probe")}


def _linear_augmented(trial: Trial, budget: Budget) -> dict[str, Outcome]:
    encoders = trial.encoders
    probe = Supervised(lambda seed: encoders[seed % len(encoders)], budget, classifier=FrozenClassifier)
    return {"linear_augmented": _train(trial.task, probe, trial.machine, "linear, on changed clips")}


def _fine_tune(task: DownstreamTask, start: Start, budget: Budget, machine: Machine, title: str) -> dict[str, Outcome]:
    return {"fine_tune": _train(task, Supervised(start, budget), machine, title)}


def _fine_tune_few(
    task: DownstreamTask, start: Start, few: LowShot, machine: Machine, title: str
) -> dict[str, Outcome]:
    if (budget := few.fine_tune) is None:
        return {}
    read_outs = {n: Supervised(start, budget, shots=n) for n in few.fine_tune_shots}
    return {
        "low_shot_fine_tune": NOT_DRAWN
        if task.several
        else {
            str(n): _train(task, read_out, machine, f"{title}, {n} label(s) per class")
            for n, read_out in read_outs.items()
        }
    }


def _train(task: DownstreamTask, read_out: Supervised, machine: Machine, title: str) -> Outcome:
    """Run a read-out that trains a network with every seed of its budget."""
    read_outs = [replace(read_out, seed=seed) for seed in range(read_out.budget.seeds)]
    return measure(task, read_outs, [task.pixels(machine)], task.folds.spread(read_out.budget.folds), title)


# Read-outs of frozen encoders in the order of their results: a key of `Protocol`, and the function that is given the
# trial and the key's value unless that is None or empty, and returns outcomes by name. A new read-out is one row.
READ_OUTS: tuple[tuple[str, Callable[[Trial, Any], Mapping[str, Outcome]]], ...] = (
    ("views", _each_view),  # linear, neighbours and retrieval
    ("linear", _sequence),
    ("layers", _inner_layers),
    ("low_shot", _few_labels),
    ("attentive", _attentive),
    ("episodes", _episodes),
    ("layout", _layout),
    ("layout_mean", _layout_mean),
    ("attentive_probe", _attentive_probe),
    ("linear_augmented", _linear_augmented),
)
TOGETHER = ("attentive", "linear_augmented")  # those of READ_OUTS that all processes train together
# Read-outs that train the whole network, with the task, where to start from, the key's value, machine and title.
TRAINED: tuple[tuple[str, Callable[[DownstreamTask, Start, Any, Machine, str], Mapping[str, Outcome]]], ...] = (
    ("fine_tune", _fine_tune),
    ("low_shot", _fine_tune_few),
)
