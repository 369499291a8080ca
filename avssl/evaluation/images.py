"""What a frame encoder is worth on images: linear classifiers on every stage, and an SVM for each of many labels.

R. Zhang, P. Isola, A. A. Efros: Colorful Image Colorization. ECCV 2016, and Split-Brain Autoencoders. CVPR 2017
(classifiers on every stage); P. Goyal, D. Mahajan, A. Gupta, I. Misra: Scaling and Benchmarking Self-Supervised Visual
Representation Learning. ICCV 2019 (SVMs on VOC07).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avssl.catalog.index import open_manifest
from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.features import Normalise, Views, features
from avssl.evaluation.finetune import Budget
from avssl.evaluation.lists import ManyLabels, csv_labels, voc_labels
from avssl.evaluation.metrics import average_precisions, mean_average_precision
from avssl.evaluation.probes import LinearProbe, LinearSVMs
from avssl.evaluation.protocol import Data, Protocol, Task, digest, identify, plain
from avssl.evaluation.record import record, remembered, untrained
from avssl.evaluation.run import bank, frozen, train_once
from avssl.evaluation.splits import TrainTest, check_apart
from avssl.runtime.device import Machine

FEATURES = 9000  # numbers that describe a stage, about
RANKINGS = 200  # random ones, for the chance of the 11-point average precision


class StagePools(Encoder):
    """The maps of every stage of a frame encoder, each averaged over a grid of about 9000 numbers, laid end to end.

    Args:
        encoder: a frame encoder with stages.
        size: height and width of the pictures.

    Raises:
        ValueError: where the encoder mixes the frames of a clip, or has no stages.

    Attributes:
        widths: numbers of each stage.
    """

    per_frame = True

    def __init__(self, encoder: Encoder, size: int) -> None:
        if not encoder.per_frame or not hasattr(encoder, "stages"):
            why = "has no stages" if encoder.per_frame else "mixes the frames of a clip"
            raise ValueError(
                f"{type(encoder).__name__}({encoder.config}) {why}: on images, classifiers read the stages of "
                "an encoder of single frames, such as avssl.encoders.ResNet"
            )
        with torch.inference_mode():
            maps: list[Tensor] = encoder.eval().stages(torch.zeros(1, 1, 3, size, size))  # type: ignore[operator]
        grids = [grid(found.shape[1], min(found.shape[2:])) for found in maps]
        self.widths = [found.shape[1] * side**2 for found, side in zip(maps, grids, strict=True)]
        config = {"encoder": type(encoder).__qualname__, **encoder.config, "grids": grids}
        super().__init__(sum(self.widths), config)
        self.encoder, self.grids, self.card = encoder, grids, encoder.card

    def frames(self, clips: Tensor) -> Tensor:
        """``[B, T, 3, H, W]`` float, normalised, to ``[B, T, D]`` float32."""
        maps: list[Tensor] = self.encoder.stages(clips)  # type: ignore[operator]
        pooled = [
            F.adaptive_avg_pool2d(found.float(), side).flatten(1) for found, side in zip(maps, self.grids, strict=True)
        ]
        return torch.cat(pooled, 1).unflatten(0, (len(clips), -1))


def grid(channels: int, side: int) -> int:
    """Side of the grid that a stage of maps ``[C, side, side]`` is averaged over.

    The nearest to 9000 numbers: the 10, 6, 5, 5 and 6 of AlexNet's stages in Zhang et al. Maps are never enlarged.
    """
    return max(1, min(side, round(math.sqrt(FEATURES / channels))))


def still(size: int) -> Views:
    """One look at an image, squashed to a square."""
    return Views(clips=1, num_frames=1, step=1 / 25, size=size, segments=1)


def stages(
    train: Path,
    test: Path,
    run: Path,
    size: int = 64,
    seeds: tuple[int, ...] = (0, 1, 2),
    linear: LinearProbe = LinearProbe(strengths=(1e-5, 1e-4, 1e-3, 1e-2), iterations=100),  # noqa: B008
    from_scratch: Budget | None = Budget(steps=600, batch_size=64),  # noqa: B008
    machine: Machine = Machine(),  # noqa: B008
) -> dict[str, Any]:
    """A linear classifier on each stage; writes ``<run>/eval/stages_<collection>/results.json``.

    Args:
        train: folder of class folders of images, or a manifest.
        test: the same, of the same classes.
        run: a run folder with an exported frame encoder, or an export folder.
        size: height and width that images are squashed to.
        seeds: of the randomly initialised encoders.
        linear: the classifier.
        from_scratch: how the same network is trained with the labels, before classifiers are trained on its stages as
            on all others'; None leaves it out.
        machine: where.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: where there is no encoder.
        MediaError: where a collection or an image can't be read.
        ValueError: where the encoder mixes frames, an image is on both sides, or a class is tested only.
    """
    begun = time.perf_counter()
    encoder = load_encoder(run)
    widths = StagePools(encoder, size).widths
    protocol = Protocol(
        name=f"stages_{_common(train, test)}",
        data=Data((train, test)),
        split=TrainTest(len(open_manifest(train))),
        views=still(size),
        seeds=seeds,
        linear=linear,
        neighbours=None,
        retrieval=(),
        fine_tune=from_scratch,
    )
    task = Task(protocol)

    def judge(encoders: Sequence[Encoder]) -> dict[str, Any]:
        banks = [bank(task, StagePools(each, size), machine) for each in encoders]
        found: dict[str, Any] = {}
        for number, (stop, width) in enumerate(zip(np.cumsum(widths), widths, strict=True), start=1):
            parts = [replace(each, features=each.features[..., stop - width : stop]) for each in banks]
            found |= {f"{name}_stage{number}": value for name, value in frozen(task, parts).items()}
        return found

    def baselines() -> dict[str, Any]:
        found = {"random_init": judge([untrained(encoder, seed) for seed in seeds])}
        if from_scratch is not None:
            statistics = Normalise(encoder.card["mean"], encoder.card["std"], machine.target)
            taught = [untrained(encoder, seed) for seed in range(from_scratch.seeds)]
            for seed, each in enumerate(taught):
                train_once(task, each, task.folds.folds[0].train, from_scratch, statistics, machine, None, seed)
            found["from_scratch"] = judge([each.cpu() for each in taught])
        return found

    settings = {**task.settings, "numbers": dict(enumerate(widths, start=1))}
    found = {"pretrained": judge([encoder]), **remembered(encoder, task.facts, settings, machine, baselines)}
    return record(run, encoder, task.facts, settings, task.chance(), found, machine, begun)


def svm(
    train: Path,
    test: Path,
    run: Path,
    labels: Path | None = None,
    sets: tuple[str, str] = ("trainval", "test"),
    size: int = 64,
    seeds: tuple[int, ...] = (0, 1, 2),
    linear: LinearSVMs = LinearSVMs(),  # noqa: B008
    machine: Machine = Machine(),  # noqa: B008
) -> dict[str, Any]:
    """SVMs on the last stage, by mean average precision; writes ``<run>/eval/svm_<collection>/results.json``.

    Args:
        train: a folder of VOC's layout; with ``labels``, a folder or manifest of images.
        test: another one, or of VOC's layout the same.
        run: a run folder with an exported frame encoder, or an export folder.
        labels: CSV file ``path,label`` with a row for each class that an image shows.
        sets: of VOC's lists, those to train on and to test.
        size: height and width that images are squashed to.
        seeds: of the randomly initialised encoders.
        linear: the SVMs.
        machine: where.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: where there is no encoder, or there are no labels.
        MediaError: where a collection or an image can't be read.
        ValueError: where the encoder mixes frames, labels don't fit the images, an image is on both sides, or a class
            has too few images.
    """
    begun = time.perf_counter()
    encoder = load_encoder(run)
    width = StagePools(encoder, size).widths[-1]
    images, known = voc_labels(train, test, sets) if labels is None else csv_labels(train, test, labels)
    folds = check_apart(known.folds, images)
    fold = folds.folds[0]
    rows = [*fold.train, *fold.test]
    present = known.present[rows]
    sides = range(len(fold.train)), range(len(fold.train), len(rows))
    _check_counts(known, linear.inner_folds)

    def judge(encoders: Sequence[Encoder]) -> dict[str, Any]:
        runs, chosen = [], []
        for each in encoders:
            values = features(StagePools(each, size), images, rows, still(size), machine)[:, 0, 0, -width:].numpy()
            scores, costs = linear.scores(values, present, *sides)
            runs.append(scores)
            chosen.append(costs)
        found = mean_average_precision(known.present[list(fold.test)], runs, known.classes)
        found["mAP"]["costs"] = chosen
        return {"svm": found}

    split = {"labels": "VOC" if labels is None else labels.name, "sets": list(sets) if labels is None else None}
    marks = digest(present.tolist())
    facts = identify(f"svm_{_common(train, test)}", images, folds, still(size), known.classes, split, labels=marks)
    settings = {"svm": plain(linear), "seeds": list(seeds), "numbers": width}
    fresh = [untrained(encoder, seed) for seed in seeds]
    baselines = remembered(encoder, facts, settings, machine, lambda: {"random_init": judge(fresh)})
    found = {"pretrained": judge([encoder]), **baselines}
    return record(run, encoder, facts, settings, _chance(known.present[list(fold.test)]), found, machine, begun)


def _common(train: Path, test: Path) -> str:
    return Path(os.path.commonpath([os.path.abspath(train), os.path.abspath(test)])).name


def _check_counts(known: ManyLabels, least: int) -> None:
    """Refuse a class of which nothing can be chosen or measured."""
    fold = known.folds.folds[0]
    for side, rows, needed in (("training", fold.train, least), ("test", fold.test, 1)):
        for name, column in zip(known.classes, known.present[list(rows)].T, strict=True):
            for mark, words in ((1, "show it"), (-1, "do not")):
                if (column == mark).sum() < needed:
                    raise ValueError(
                        f"class {name!r}: {(column == mark).sum()} of {len(rows)} {side} images {words}, at least "
                        f"{needed} must. Add images or remove the class"
                    )


def _chance(present: NDArray[np.int8]) -> dict[str, float]:
    """Share of the images that show a class, mean over classes; for eleven recalls, random rankings."""
    rng, once = np.random.default_rng(0), np.ones((1, len(present)), dtype=np.int64)
    eleven = [
        average_precisions(column, rng.random(len(column)), once)[1] for column in present.T for _ in range(RANKINGS)
    ]
    shares = (present > 0).sum(0) / (present != 0).sum(0)
    return {"mAP": float(shares.mean()), "mAP 11-point": float(np.mean(eleven))}
