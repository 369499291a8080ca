"""How well splices are found: pictures put together from held-out videos, whose cameras and masks are known."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from avssl.applications.detection import auroc
from avssl.applications.splice.affinity import (
    Array,
    Grid,
    affinities,
    apart,
    colours,
    inconsistency,
    laplacian_energy,
    merged,
)
from avssl.applications.splice.making import (
    CONDITIONS,
    FRAMES,
    Condition,
    Made,
    put_together,
    read_sources,
    spread_over,
)
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.results import Score
from avssl.methods import CameraConsistency
from avssl.runtime.progress import Tally
from avssl.training.config import parse
from avssl.training.data import Datasets
from avssl.training.sheet import load_method


@dataclass(frozen=True)
class Found:
    """How well one detector does under one condition.

    Attributes:
        condition: how pictures were put together.
        detector: the network, or what is done by hand.
        detection: area under the ROC curve of whole pictures, spliced against authentic.
        localisation: mean over pictures of the area under the ROC curve of their pixels.
    """

    condition: str
    detector: str
    detection: Score
    localisation: Score


def open_run(run: Path, words: Sequence[str] = ()) -> tuple[CameraConsistency, CameraConsistency, Datasets]:
    """Return the method of a run with its last weights and without, and its videos.

    Args:
        run: of `CameraConsistency` with a pipeline.
        words: changes of its config.

    Raises:
        ValueError: if the run is of another method, or has no pipeline.
    """
    made, config = parse([str(run / "config.yaml"), *words])
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    if not isinstance(built.method, CameraConsistency) or built.method.pipeline is None:
        raise ValueError(f"{run}: expected a run of CameraConsistency with a pipeline")
    untrained = copy.deepcopy(built.method).eval()
    load_method(built.method, run)
    return built.method.eval(), untrained, built.data.datasets(built.method, config.seed, run)


class Detector(NamedTuple):
    """A way to find splices.

    Attributes:
        read: computes what is needed from a picture ``[3, H, W]`` and its patches.
        whole: scores the picture by that.
        patches: score its patches ``[P]`` by that, each by its name.
    """

    read: Callable[[Tensor, Grid], Array]
    whole: Callable[[Array], float]
    patches: dict[str, Callable[[Array], Array]]


def detectors(method: CameraConsistency, untrained: CameraConsistency | None = None) -> list[Detector]:
    """Return the trained network with both merges, the untrained one, and two detectors made by hand."""
    both: dict[str, Callable[[Array], Array]] = {
        "trained, mean shift": lambda affinity: merged(affinity).scores,
        "trained, normalised cut": lambda affinity: merged(affinity, "cut").scores,
    }
    found = [Detector(_by_network(method), inconsistency, both)]
    if untrained is not None:
        by_shift = {"untrained, mean shift": both["trained, mean shift"]}
        found.append(Detector(_by_network(untrained), inconsistency, by_shift))
    by_hand = {"Laplacian energy": laplacian_energy, "mean colours": colours}
    return [*found, *(Detector(_on_patches(read), deviation, {name: apart}) for name, read in by_hand.items())]


def _by_network(method: CameraConsistency) -> Callable[[Tensor, Grid], Array]:
    return lambda picture, grid: affinities(method, picture, grid)[-1]


def _on_patches(read: Callable[[Tensor], Array]) -> Callable[[Tensor, Grid], Array]:
    return lambda picture, grid: read(grid.cut(picture) / 255)


def deviation(features: Array) -> float:
    """Return the standard deviation of ``[P]`` or ``[P, D]`` features over the patches, summed over features."""
    return float(features.std(0).sum())


def measure(pictures: Sequence[Made], using: Sequence[Detector], size: int, stride: int, name: str) -> list[Found]:
    """Judge detectors by pictures.

    Args:
        pictures: of one condition.
        using: detectors.
        size: of the patches in pixels.
        stride: pixels between patches.
        name: of the condition.

    Raises:
        ValueError: if there is no picture.
    """
    if not pictures:
        raise ValueError(f"{name}: there are no pictures to measure detectors by")
    groups = [one.group for one in pictures]
    grid = Grid.over((pictures[0].mask.shape[0], pictures[0].mask.shape[1]), size, stride)
    areas: dict[str, list[float]] = {}
    spliced: list[list[float]] = [[] for _ in using]
    authentic: list[list[float]] = [[] for _ in using]
    with Tally(f"Judging {name}", len(pictures)) as tally:
        for one in pictures:
            for place, detector in enumerate(using):
                features = detector.read(one.spliced, grid)
                spliced[place].append(detector.whole(features))
                authentic[place].append(detector.whole(detector.read(one.authentic, grid)))
                for called, score in detector.patches.items():
                    pixels = grid.spread(score(features))
                    areas.setdefault(called, []).append(float(roc_auc_score(one.mask.ravel(), pixels.ravel())))
            tally.add("pictures")
    found = []
    odd = [True] * len(pictures) + [False] * len(pictures)
    for place, detector in enumerate(using):
        whole = auroc([*spliced[place], *authentic[place]], odd, groups * 2)
        for called in detector.patches:
            values = np.array(areas[called])
            found.append(Found(name, called, whole, Score(float(values.mean()), bootstrap(values[None], groups, 0))))
    return found


def measure_splices(
    run: Path,
    videos: int = 60,
    size: int = 160,
    stride: int = 16,
    conditions: Sequence[Condition] = CONDITIONS,
    training: bool = False,
    seed: int = 0,
) -> list[Found]:
    """Put pictures together from a run's held-out videos, and judge its network and detectors made by hand.

    Args:
        run: of `CameraConsistency` with a pipeline.
        videos: as many of them, spread over the folders that they are in.
        size: height and width of the pictures in pixels.
        stride: pixels between patches.
        conditions: how pictures are put together.
        training: take the videos that were trained on, to choose by.
        seed: of all draws.

    Raises:
        ValueError: if the run is of another method, has no pipeline, or one held-out video.
    """
    clip = {"num_frames": FRAMES, "step": 0.04}
    words = [f"--method.init_args.sampler.{name}={value}" for name, value in clip.items()]
    method, untrained, both = open_run(run, [f"--data.transform.init_args.size={size}", *words])
    dataset = both.training if training else both.held_out
    assert method.pipeline is not None
    sources = read_sources(dataset, spread_over(dataset, videos, seed))
    found = []
    for condition in conditions:
        pictures = list(put_together(sources, method.pipeline, condition, seed))
        first = condition == CONDITIONS[0]
        found += measure(pictures, detectors(method, untrained if first else None), method.size, stride, condition.name)
    return found
