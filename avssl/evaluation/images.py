"""Frame encoders on images: linear classifiers on every stage, and one SVM per class on the last.

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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avssl.catalog.index import open_manifest
from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import Budget, Pixels, Supervised
from avssl.evaluation.given import place
from avssl.evaluation.lists import ManyLabels, csv_labels, voc_labels
from avssl.evaluation.precision import average_precisions, chance_precision, summarise_several
from avssl.evaluation.probes import LinearProbe, LinearSVMs
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol, identify
from avssl.evaluation.readout import Bank, at_rows, predictions
from avssl.evaluation.record import cached_baselines, random_init, write_results
from avssl.evaluation.results import Outcome, Outcomes, Results
from avssl.evaluation.run import frozen
from avssl.evaluation.settings import digest, plain
from avssl.evaluation.splits import TrainTest, check_apart
from avssl.evaluation.trial import video_bank
from avssl.runtime.device import Machine

FEATURES = 9000  # approximate number of features per stage
RANKINGS = 200  # random rankings, for the chance level of the 11-point average precision


class StagePools(Encoder):
    """Maps of every stage of a frame encoder, each pooled to about 9000 numbers, concatenated.

    ``size`` is the height and width of the images; ``widths`` are the numbers of features of the stages.

    Raises:
        ValueError: if the encoder mixes the frames of a clip, or has no stages.
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
        """Pool normalised clips ``[B, T, 3, H, W]`` to ``[B, T, D]`` float32."""
        maps: list[Tensor] = self.encoder.stages(clips)  # type: ignore[operator]
        sides = zip(maps, self.grids, strict=True)
        pooled = [F.adaptive_avg_pool2d(found.float(), side).flatten(1) for found, side in sides]
        return torch.cat(pooled, 1).unflatten(0, (len(clips), -1))


def grid(channels: int, side: int) -> int:
    """Return the side of the grid that a stage of maps ``[C, side, side]`` is averaged over.

    It comes closest to 9000 numbers, as the 10, 6, 5, 5 and 6 of AlexNet's stages in Zhang et al. Maps are never
    enlarged.
    """
    return max(1, min(side, round(math.sqrt(FEATURES / channels))))


def still(size: int) -> Views:
    """Return one view per image, squashed to a square."""
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
    encoder: Encoder | None = None,
) -> Results:
    """Evaluate each stage by a linear classifier; write ``<run>/eval/stages_<collection>/results.json`` and return it.

    Args:
        train: folder of class folders of images, or a manifest.
        test: the same, of the same classes.
        run: a run folder with an exported frame encoder, or an export folder.
        size: height and width that images are squashed to.
        seeds: seeds of the randomly initialised encoders; with none, they are left out.
        linear: the classifier.
        from_scratch: schedule of training the same network with the labels, before classifiers are trained on its
            stages like on all others; None leaves it out.
        machine: device, workers and cache.
        encoder: an encoder instead of the run's, by its class; it is exported to ``<run>/encoder``.

    Raises:
        FileNotFoundError: if there is no encoder.
        MediaError: if a collection or an image can't be read.
        ValueError: if the encoder mixes frames, an image is on both sides, or a class has test images only.
    """
    begun = time.perf_counter()
    encoder = load_encoder(run) if encoder is None else place(encoder, run, size)
    widths = StagePools(encoder, size).widths
    protocol = Protocol(
        name=f"stages_{_common(train, test)}",
        data=LabelledVideos((train, test)),
        split=TrainTest(len(open_manifest(train))),
        views=still(size),
        seeds=seeds,
        linear=linear,
        neighbours=None,
        retrieval=(),
        fine_tune=from_scratch,
    )
    task = DownstreamTask(protocol)

    def classify(encoders: Sequence[Encoder]) -> dict[str, Outcome]:
        banks = [video_bank(task, StagePools(each, size), machine) for each in encoders]
        found: dict[str, Outcome] = {}
        for number, (stop, width) in enumerate(zip(np.cumsum(widths), widths, strict=True), start=1):
            parts = [each.columns(stop - width, stop) for each in banks]
            found |= {f"{name}_stage{number}": value for name, value in frozen(task, parts).items()}
        return found

    def make() -> Outcomes:
        start = partial(random_init, encoder)
        found = {"random_init": classify([start(seed) for seed in seeds])} if seeds else {}
        if from_scratch is not None:
            pixels = Pixels(task.videos, task.labels, task.classes, protocol.views, machine)
            trained = [start(seed) for seed in range(from_scratch.seeds)]
            for seed, each in enumerate(trained):
                Supervised(start, from_scratch, seed).train(pixels, each, task.folds.folds[0].train)
            found["from_scratch"] = classify([each.cpu() for each in trained])
        return found

    settings = {**task.settings, "numbers": dict(enumerate(widths, start=1))}
    outcomes = {"pretrained": classify([encoder]), **cached_baselines(encoder, task.facts, settings, machine, make)}
    return write_results(run, encoder, task.facts, settings, task.chance(), outcomes, machine, begun)


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
    encoder: Encoder | None = None,
) -> Results:
    """Evaluate the last stage by SVMs (mean average precision).

    Writes ``<run>/eval/svm_<collection>/results.json`` and returns its content.

    Args:
        train: a folder in VOC's layout; with ``labels``, a folder or manifest of images.
        test: another one; in VOC's layout it may be the same.
        run: a run folder with an exported frame encoder, or an export folder.
        labels: CSV file ``path,label`` with one row per class that an image shows.
        sets: names of VOC's lists to train on and to test on.
        size: height and width that images are squashed to.
        seeds: seeds of the randomly initialised encoders; with none, they are left out.
        linear: the SVMs.
        machine: device, workers and cache.
        encoder: an encoder instead of the run's, by its class; it is exported to ``<run>/encoder``.

    Raises:
        FileNotFoundError: if there is no encoder, or there are no labels.
        MediaError: if a collection or an image can't be read.
        ValueError: if the encoder mixes frames, labels don't fit the images, an image is on both sides, or a class
            has too few images.
    """
    begun = time.perf_counter()
    encoder = load_encoder(run) if encoder is None else place(encoder, run, size)
    width = StagePools(encoder, size).widths[-1]
    images, known = voc_labels(train, test, sets) if labels is None else csv_labels(train, test, labels)
    folds = check_apart(known.folds, images)
    fold = folds.folds[0]
    rows, tested = [*fold.train, *fold.test], known.present[list(fold.test)]
    _check_counts(known, linear.inner_folds)

    def classify(encoders: Sequence[Encoder]) -> dict[str, Outcome]:
        pools = [StagePools(each, size) for each in encoders]
        values = [extract_features(each, images, rows, still(size), machine) for each in pools]
        full = [at_rows(each, rows, len(images)) for each in values]
        banks = [Bank(each, known.present, np.arange(len(images)), len(known.classes)) for each in full]
        last = [bank.columns(bank.features.shape[2] - width, bank.features.shape[2]) for bank in banks]
        found = predictions([linear], last, folds)
        scores = summarise_several(found, folds.groups, known.classes)
        return {"svm": scores | {"mAP": replace(scores["mAP"], costs=[run[0].chosen for run in found])}}

    split = {"labels": "VOC" if labels is None else labels.name, "sets": list(sets) if labels is None else None}
    marks = digest(known.present[rows].tolist())
    facts = identify(f"svm_{_common(train, test)}", images, folds, still(size), known.classes, split, labels=marks)
    settings = {"svm": plain(linear), "seeds": list(seeds), "numbers": width}
    fresh = [random_init(encoder, seed) for seed in seeds]
    baselines = cached_baselines(
        encoder, facts, settings, machine, lambda: {"random_init": classify(fresh)} if fresh else {}
    )
    outcomes = {"pretrained": classify([encoder]), **baselines}
    return write_results(run, encoder, facts, settings, _chance(tested), outcomes, machine, begun)


def _common(train: Path, test: Path) -> str:
    return Path(os.path.commonpath([os.path.abspath(train), os.path.abspath(test)])).name


def _check_counts(known: ManyLabels, least: int) -> None:
    """Refuse a class with too few images to choose a cost or to measure."""
    fold = known.folds.folds[0]
    for side, rows, needed in (("training", fold.train, least), ("test", fold.test, 1)):
        for name, column in zip(known.classes, known.present[list(rows)].T, strict=True):
            for mark, words in ((1, "show it"), (-1, "do not")):
                if (count := (column == mark).sum()) < needed:
                    found = f"class {name!r}: {count} of {len(rows)} {side} images {words}, at least {needed} must"
                    raise ValueError(f"{found}. Add images or remove the class")


def _chance(present: NDArray[np.int8]) -> dict[str, float]:
    """Return the mean over random rankings of both measures."""
    rng, once = np.random.default_rng(0), np.ones((1, len(present)), dtype=np.int64)
    columns = (column for column in present.T for _ in range(RANKINGS))
    eleven = [average_precisions(column, rng.random(len(column)), once)[1] for column in columns]
    return {"mAP": chance_precision(present), "mAP 11-point": float(np.mean(eleven))}
