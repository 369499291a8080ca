"""How well each attribute of a camera is told from held-out patches, beside chance and the Laplacian's energy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avssl.applications.splice.affinity import laplacian_energy
from avssl.applications.splice.measuring import open_run
from avssl.data.dataset import ClipDataset, collate
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.results import Score
from avssl.methods import CameraConsistency
from avssl.methods.frame.camera_consistency import WHOLE, Pairs, balanced
from avssl.training.module import statistics

STEPS = 99  # thresholds among which one is chosen


@dataclass(frozen=True)
class Told:
    """How often it is told right whether an attribute has the same value for two patches of different videos.

    Pairs with the same value count as much as those with different ones; chance is 0.5.

    Attributes:
        attribute: name; ``camera`` is whether all values are the same.
        trained: by the network.
        untrained: by the network before training.
        energy: by the difference of the Laplacian's energies, with the best threshold for training videos.
    """

    attribute: str
    trained: Score
    untrained: Score
    energy: Score


@torch.no_grad()
def tell_attributes(run: Path, batch: int = 32, rounds: int = 1, fitted: int = 6) -> list[Told]:
    """Film a run's held-out videos, and compare patches of all of them.

    Args:
        run: of `CameraConsistency` with a pipeline.
        batch: videos that are compared with each other.
        rounds: draws from each video.
        fitted: batches of training videos by which the thresholds are chosen.

    Raises:
        ValueError: if the run is of another method, has no pipeline, or fewer than two held-out videos.
    """
    method, untrained, both = open_run(run)
    if len(both.held_out) < 2:
        raise ValueError(f"{run}: {len(both.held_out)} held-out videos; comparing takes at least two")
    names = [*method.attributes, WHOLE]
    thresholds = choose(list(filmed(method, both.training, batch, 1, fitted)), len(names))
    right: dict[str, list[Tensor]] = {"trained": [], "untrained": [], "energy": []}
    for patches, shown, pairs, videos in filmed(method, both.held_out, batch, rounds):
        for name, network in (("trained", method), ("untrained", untrained)):
            answers = network.answers(network.embed(patches))
            right[name].append(balanced((answers > 0) == pairs.same, pairs, videos))
        right["energy"].append(balanced((differences(shown)[..., None] < thresholds) == pairs.same, pairs, videos))
    infos = [both.held_out.videos[int(row)] for row in both.held_out.kept]
    groups = [info.group or str(info.path) for info in infos] * rounds
    found: dict[str, list[Score]] = {}
    for name, parts in right.items():
        values = torch.cat(parts).double().numpy()  # [rounds * V, A + 1]
        found[name] = [
            Score(float(column.mean()), bootstrap(column[None], groups[: len(column)], 0)) for column in values.T
        ]
    return [Told(name, *(found[key][place] for key in right)) for place, name in enumerate(names)]


def filmed(
    method: CameraConsistency, dataset: ClipDataset, batch: int, rounds: int, most: int | None = None
) -> Iterator[tuple[Tensor, Tensor, Pairs, int]]:
    """Yield patches, normalised and in [0, 1], their pairs, and the number of videos, of batches of two or more."""
    mean, std = map(torch.tensor, statistics(method.encoder))
    for epoch in range(rounds):
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(epoch)).tolist()
        if most is None:
            order = list(range(len(dataset)))
        parts = [order[first : first + batch] for first in range(0, len(order), batch)][:most]
        if len(parts) > 1 and len(parts[-1]) == 1:  # a single video has none to be compared with
            parts[-2:] = [parts[-2] + parts[-1]]
        for number, part in enumerate(parts):
            clips = collate([dataset[epoch, place] for place in part])[0].normalised(mean, std)
            torch.manual_seed(1000 * epoch + number)
            patches, pairs = method.patches_of(clips)
            yield patches, clips.denormalise(patches), pairs, len(clips)


def differences(shown: Tensor) -> Tensor:
    """Return the distances ``[P, P]`` of the Laplacian energies of patches ``[P, 3, s, s]`` in [0, 1]."""
    energy = torch.from_numpy(laplacian_energy(shown))
    return (energy[:, None] - energy[None]).abs()


def choose(batches: list[tuple[Tensor, Tensor, Pairs, int]], attributes: int) -> Tensor:
    """Return for each attribute the threshold ``[A + 1]`` of the distance of energies that tells most pairs right."""
    apart = torch.cat([differences(shown)[pairs.apart] for _, shown, pairs, _ in batches])  # [M]
    same = torch.cat([pairs.same[pairs.apart] for _, _, pairs, _ in batches])  # [M, A + 1]
    steps = torch.quantile(apart[:: max(1, len(apart) // 100_000)], torch.linspace(0, 1, STEPS, dtype=apart.dtype))
    best = []
    for place in range(attributes):
        truth = same[:, place].numpy()
        shares = [
            np.mean([(below := apart.numpy() < step)[truth].mean(), 1 - below[~truth].mean()])
            for step in steps.tolist()
        ]
        best.append(float(steps[int(np.argmax(shares))]))
    return torch.tensor(best)
