"""How well splices are found: pictures put together from held-out videos, whose cameras and masks are known."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
from avssl.data.dataset import ClipDataset
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.results import Score
from avssl.methods import CameraConsistency
from avssl.runtime.progress import Tally
from avssl.synthetic.camera_pipeline import CameraPipeline
from avssl.synthetic.camera_video import recoded
from avssl.training.config import parse
from avssl.training.data import Datasets
from avssl.training.sheet import load_method

FRAMES, MIDDLE = 5, 2  # frames of a clip that is coded as video, and the one that is compared
SHARE = (0.1, 0.35)  # of the picture that comes from elsewhere


@dataclass(frozen=True)
class Condition:
    """How pictures are put together.

    Attributes:
        name: for people.
        same_camera: both parts are filmed by one camera: what content alone gives away.
        grid: the inserted part keeps the phase of JPEG's blocks.
        between: settings lie between the trained levels.
        crf: frames are coded as H.264 after they were put together; None leaves pictures as they are.
    """

    name: str
    same_camera: bool = False
    grid: bool = False
    between: bool = False
    crf: int | None = None


CONDITIONS = (
    Condition("pictures"),
    Condition("both parts of one camera", same_camera=True),
    Condition("JPEG's blocks in phase", grid=True),
    Condition("settings between the trained ones", between=True),
    Condition("video, H.264 at crf 18", crf=18),
    Condition("video, H.264 at crf 28", crf=28),
)


class Made(NamedTuple):
    """A picture that was put together, and one that was not.

    Attributes:
        spliced: ``[3, H, W]`` uint8.
        authentic: ``[3, H, W]`` uint8.
        mask: ``[H, W]`` bool, what comes from elsewhere.
        group: of the background's video.
    """

    spliced: Tensor
    authentic: Tensor
    mask: NDArray[np.bool_]
    group: str


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


def spread_over(dataset: ClipDataset, count: int, seed: int = 0) -> list[int]:
    """Choose videos, as many of each folder's parent as there are, at random: their places in the data set."""
    rng = np.random.default_rng(seed)
    parents: dict[str, list[int]] = {}
    for place in rng.permutation(len(dataset)).tolist():
        parents.setdefault(str(Path(dataset.videos[int(dataset.kept[place])].path).parents[1]), []).append(place)
    chosen: list[int] = []
    while len(chosen) < min(count, len(dataset)):
        for places in parents.values():
            if places and len(chosen) < count:
                chosen.append(places.pop())
    return chosen


def put_together(
    dataset: ClipDataset, places: Sequence[int], pipeline: CameraPipeline, condition: Condition, seed: int = 0
) -> Iterator[Made]:
    """Yield a spliced and an authentic picture of each place; the inserted part is of the next place's video.

    Every picture is filmed as a whole. Then a rectangle or an ellipse of the second is copied over the first, from
    where it was in the second, moved by up to eight pixels.
    """
    rng = torch.Generator().manual_seed(seed)
    for number, place in enumerate(places):
        other = places[(number + 1) % len(places)]
        background, donor, honest = (
            dataset[epoch, where].clips.video[0, 0] for epoch, where in ((0, place), (1, other), (2, place))
        )
        cameras = draw(pipeline, 3, condition.between, rng)
        while bool((cameras[0] == cameras[1]).all()):
            cameras = draw(pipeline, 3, condition.between, rng)
        if condition.same_camera:
            cameras[1] = cameras[0]
        first, second, third = (
            film(pipeline, clip, camera, rng) for clip, camera in zip((background, donor, honest), cameras, strict=True)
        )
        shift = torch.randint(0, 8, (2,), generator=rng).tolist()
        if condition.grid:
            shift = [0, 0]
        mask = region((first.shape[-2], first.shape[-1]), rng)
        spliced = torch.where(mask, second.roll(shift, (2, 3)), first)
        if condition.crf is not None:
            spliced, third = recoded(spliced, condition.crf), recoded(third, condition.crf)
        info = dataset.videos[int(dataset.kept[place])]
        yield Made(spliced[MIDDLE], third[MIDDLE], mask.numpy(), info.group or str(info.path))


def draw(pipeline: CameraPipeline, count: int, between: bool, rng: torch.Generator) -> Tensor:
    """Draw settings ``[count, A]``, at the trained levels or as means of two neighbouring ones."""
    drawn = pipeline.draw(count, rng)
    if not between:
        return drawn
    levels = pipeline.levels
    above = torch.where(levels[None] > drawn[:, :, None], levels[None], torch.inf).amin(2)
    below = torch.where(levels[None] < drawn[:, :, None], levels[None], -torch.inf).amax(2)
    middle = (drawn + torch.where(above.isfinite(), above, below)) / 2
    middle[:, 2] = drawn[:, 2]  # there is nothing between two kinds of interpolation
    return middle


def film(pipeline: CameraPipeline, clip: Tensor, camera: Tensor, rng: torch.Generator) -> Tensor:
    """Film a clip ``[T, 3, H, W]`` uint8 by a camera ``[A]``."""
    filmed = pipeline(clip.float() / 255, camera.expand(len(clip), -1), rng)
    return (255 * filmed).round().to(torch.uint8)


def region(shape: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Draw a rectangle or an ellipse of a share of a picture: ``[H, W]`` bool."""
    height, width = shape
    share, ratio, down, across, kind = torch.rand(5, generator=rng).tolist()
    area = SHARE[0] + (SHARE[1] - SHARE[0]) * share
    side = 2 ** (ratio - 0.5)
    high, wide = (min(0.9, area**0.5 * part) for part in (side, 1 / side))
    y = (torch.arange(height)[:, None] + 0.5) / height - (high / 2 + down * (1 - high))
    x = (torch.arange(width)[None] + 0.5) / width - (wide / 2 + across * (1 - wide))
    if kind < 0.5:
        return (y.abs() < high / 2) & (x.abs() < wide / 2)
    return (2 * y / high) ** 2 + (2 * x / wide) ** 2 < 1


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
    found = [
        Detector(
            lambda picture, grid: affinities(method, picture, grid)[-1],
            inconsistency,
            {"trained, mean shift": merged, "trained, normalised cut": lambda affinity: merged(affinity, "cut")},
        )
    ]
    if untrained is not None:
        found.append(
            Detector(
                lambda picture, grid: affinities(untrained, picture, grid)[-1],
                inconsistency,
                {"untrained, mean shift": merged},
            )
        )
    by_hand = {"Laplacian energy": laplacian_energy, "mean colours": colours}
    return [*found, *(Detector(_on_patches(read), deviation, {name: apart}) for name, read in by_hand.items())]


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
        ValueError: if the run is of another method, or has no pipeline.
    """
    clip = {"num_frames": FRAMES, "step": 0.04}
    words = [f"--method.init_args.sampler.{name}={value}" for name, value in clip.items()]
    method, untrained, both = open_run(run, [f"--data.transform.init_args.size={size}", *words])
    dataset = both.training if training else both.held_out
    assert method.pipeline is not None
    places = spread_over(dataset, videos, seed)
    found = []
    for condition in conditions:
        pictures = list(put_together(dataset, places, method.pipeline, condition, seed))
        first = condition == CONDITIONS[0]
        found += measure(pictures, detectors(method, untrained if first else None), method.size, stride, condition.name)
    return found
