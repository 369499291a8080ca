"""What an application reads side by side: encoders, the same networks untrained, and hand-made features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avssl.applications.described import by_hand
from avssl.encoders import Encoder
from avssl.evaluation.protocol import DownstreamTask, Protocol
from avssl.evaluation.readout import Bank, at_rows
from avssl.evaluation.record import random_init
from avssl.evaluation.run import subject
from avssl.evaluation.trial import Trial
from avssl.runtime.device import Machine


@dataclass(frozen=True)
class Subject:
    """Features of one kind.

    Attributes:
        name: of the run, the untrained network or the hand-made features.
        banks: one, or one per seed of an untrained network.
        baseline: what encoders are compared with.
    """

    name: str
    banks: Sequence[Bank]
    baseline: bool = False


def open_task(
    protocol: Protocol, runs: Sequence[Path], encoder: Encoder | None = None, own_size: bool = False
) -> tuple[DownstreamTask, dict[str, Encoder]]:
    """Open a protocol's videos and the encoders of some runs, by name; see `avssl.evaluation.run.subject`.

    Raises:
        FileNotFoundError, MediaError, ValueError: see `avssl.evaluation.run.evaluate`; ValueError also if an encoder is
            given for several runs, two runs have one name, or with ``own_size`` encoders have different sizes.
    """
    if encoder is not None and len(runs) != 1:
        raise ValueError(f"--encoder is exported to one run's folder, but {len(runs)} are given with --run")
    encoders: dict[str, Encoder] = {}
    sizes: dict[str, int] = {}
    for run in runs:
        name = run.resolve().name
        if name in encoders:
            raise ValueError(f"two of the runs are called {name}: results are by name; rename a folder")
        encoders[name], fitted = subject(protocol, run, encoder, own_size)
        sizes[name] = fitted.views.size
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"--own_size=true: the encoders' sizes differ ({sizes}), and all must be shown the same pixels"
        )
    return DownstreamTask(fitted), encoders


def subjects(task: DownstreamTask, encoders: dict[str, Encoder], machine: Machine) -> list[Subject]:
    """Read the views of a task's videos by each encoder, each network untrained (per seed), and by hand."""
    found = [Subject(name, Trial(task, [encoder], machine).banks) for name, encoder in encoders.items()]
    networks: dict[str, Encoder] = {}
    for encoder in encoders.values():
        networks.setdefault(f"{type(encoder).__name__}({encoder.config})", encoder)
    for encoder in networks.values() if task.protocol.seeds else ():
        name = f"untrained {type(encoder).__name__}"
        if any(other.name == name for other in found):
            name = f"{name} {sum(other.name.startswith(name) for other in found) + 1}"
        fresh = [random_init(encoder, seed) for seed in task.protocol.seeds]
        found.append(Subject(name, Trial(task, fresh, machine).banks, True))
    return [*found, *handmade(task, machine)]


def handmade(task: DownstreamTask, machine: Machine) -> list[Subject]:
    """Describe views by hand: motion energy, or of single frames a thumbnail of 8 x 8 colours."""
    views, rows = task.protocol.views, task.rows
    every = at_rows(by_hand(task.videos, rows, views, machine), rows, len(task.videos))
    if views.num_frames == 1:
        return [Subject("thumbnail", [task.bank(every)], True)]
    mean = every.reshape(*every.shape[:2], views.num_frames - 1, -1).mean(2)
    found = {"motion energy, mean": mean, "motion energy": every}
    return [Subject(name, [task.bank(values)], True) for name, values in found.items()]
