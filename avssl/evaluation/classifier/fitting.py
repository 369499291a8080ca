"""From labelled videos and an encoder to a classifier: chosen by inner folds, judged by outer ones, trained on all."""

from __future__ import annotations

import math
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder, load_encoder
from avssl.encoders.initial import RANDOM
from avssl.encoders.shapes import shape_of
from avssl.evaluation.calibration import Calibration, calibrate
from avssl.evaluation.classes import class_numbers, one_each, presence
from avssl.evaluation.classifier.head import linear_head
from avssl.evaluation.classifier.labels import Labelled, open_labelled
from avssl.evaluation.classifier.model import NETWORKS, VideoClassifier, standardised
from avssl.evaluation.classifier.reading import read_features
from avssl.evaluation.classifier.settings import How, Settings
from avssl.evaluation.classifier.shapes import shapes_for
from avssl.evaluation.features import Views
from avssl.evaluation.finetune import Budget, Pixels, Supervised
from avssl.evaluation.given import place
from avssl.evaluation.layout import Layouts, MeanOfShapes
from avssl.evaluation.learning_curve import Curve, learning_curve
from avssl.evaluation.metrics import Prediction, summarise
from avssl.evaluation.precision import chance_precision, summarise_several
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.readout import Ints, predictions
from avssl.evaluation.record import random_init
from avssl.evaluation.results import AveragePrecision, Summary
from avssl.evaluation.splits import Fold, Folds, GroupFolds, Split, check_folds, groups_of
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine

FOLDS = 5
ALIKE = 0.95, 0.999  # least and largest cosine above which two videos are near duplicates
SOME = 2000  # videos, from which the spread of the features is measured
SIZE = 112  # pixels, of a network without a card


@dataclass(frozen=True)
class OwnViews:
    """The views of `avssl.evaluation.features.Views`, those in pretraining where nothing else is said.

    Args:
        clips: clips per video, spread evenly over it.
        num_frames: frames per clip.
        step: seconds between two frames.
        size: height and width of a view in pixels.
        fit: ``"squash"`` scales the whole picture to a square; ``"crop"`` keeps its aspect and cuts out squares.
        crops: with ``"crop"``, 1 (the middle) or 3 squares along the long side.
    """

    clips: int = 5
    num_frames: int | None = None
    step: float | None = None
    size: int | None = None
    fit: Literal["squash", "crop"] = "squash"
    crops: Literal[1, 3] = 1

    def of(self, encoder: Encoder) -> Views:
        """Return the views for an encoder; raise ValueError if its own size is no square and none is given."""
        own = shape_of(encoder)
        if self.size is None and own.height != own.width:
            raise ValueError(
                f"the encoder's frames are {own.height} x {own.width}, but views are square: set views.size"
            )
        frames = self.num_frames or own.frames
        step = self.step or encoder.card.get("clip", {}).get("step") or Views.step
        size, parts = self.size or own.height, math.gcd(frames, Views.segments)
        return Views(self.clips, frames, step, size, self.fit, self.crops, parts)


@dataclass(frozen=True)
class Fitted:
    """A classifier and what is known of it.

    Attributes:
        model: the classifier, trained on all labels.
        labelled: the videos.
        folds: outer folds that were run.
        labels: ``[V]``, or ``[V, K]`` where videos show several classes.
        summary: cross-validated accuracy, or mean average precision where videos show several classes.
        chance: level of always saying the largest class, or of any order of the videos.
        calibration: of the cross-validated probabilities.
        curve: how accuracy grows with the labels, or why that is not known.
        chosen: strength of each shape of a linear classifier.
    """

    model: VideoClassifier
    labelled: Labelled
    folds: Folds
    labels: NDArray[np.signedinteger]
    summary: Summary | AveragePrecision
    chance: float
    calibration: Calibration
    curve: Curve | str
    chosen: Mapping[str, float] | None


def fit(
    labelled: str | Path,
    run: str | Path,
    how: How = "linear",
    labels: Sequence[str] = (),
    columns: Mapping[str, str | Sequence[str]] | None = None,
    views: OwnViews = OwnViews(),
    split: Split | None = None,
    group: str | None = None,
    shapes: Sequence[str] | None = None,
    linear: LinearProbe = LinearProbe(),  # noqa: B008
    budget: Budget = Budget(),  # noqa: B008
    curve: bool = True,
    machine: Machine = Machine(),  # noqa: B008
    encoder: Encoder | None = None,
) -> Fitted:
    """Make a classifier of labelled videos.

    A linear classifier is the mean of those on several shapes of the features. Everything that is chosen (the strength
    of each) is chosen by inner folds of the training videos, in each outer fold anew, so the accuracy reported is that
    of the whole procedure on videos that took no part in it. The classifier that is returned is trained on all videos.

    Args:
        labelled: a folder of class folders, or a manifest; with ``labels``, a folder of videos.
        run: run folder or export folder of the encoder.
        how: a linear classifier on frozen features; an attentive one on its frozen maps; or fine-tuning.
        labels: annotation lists, see `avssl.evaluation.classifier.labels.open_labelled`.
        columns: their columns.
        views: clips that stand for a video.
        split: outer folds; by default five that keep groups whole.
        group: regular expression for what must not be split, searched in the file names, instead of the groups that the
            videos bring with them.
        shapes: shapes of the features of ``linear`` (``pooled``, ``segments``, ``sequence``,
            ``whole``, ...); by default all that there are, see `avssl.evaluation.classifier.shapes.shapes_for`.
        linear: strengths and folds of ``linear``.
        budget: schedule of ``attentive`` and ``fine_tune``, where nothing is chosen.
        curve: also measure how accuracy grows with the number of labels.
        machine: device, workers and cache.
        encoder: an encoder instead of the run's; it is exported to ``<run>/encoder``.

    Raises:
        FileNotFoundError: if there is no encoder, list or manifest.
        MediaError: if there is no video.
        ValueError: if labels, folds, views and encoder don't fit each other.
    """
    check_ranges("views", views, clips="[1, inf)", num_frames="[1, inf)", step="(0, inf)", size="[1, inf)")
    network = load_encoder(run) if encoder is None else place(encoder, run, views.size or SIZE)
    seen = views.of(network)
    every = shapes_for(network, seen)
    unknown = [name for name in shapes or () if name not in every]
    if unknown:
        raise ValueError(f"shapes: {unknown[0]!r} is none of {', '.join(every)}, which this encoder and views have")
    every = {name: every[name] for name in (shapes or every if how == "linear" else ("pooled",))}
    found = open_labelled(labelled, labels, columns)
    folds = outer_folds(found.videos, split, group)
    features, readable = read_features(network, found, every, machine)
    if readable is not found:
        found, folds = readable, outer_folds(readable.videos, split, group)
    videos = found.videos
    several = not one_each(videos, range(len(videos)))
    marks: NDArray[np.signedinteger] = (presence if several else class_numbers)(videos)
    groups = np.unique(folds.groups, return_inverse=True)[1]
    facts = (marks, groups, len(videos.classes), network.num_features)
    banks = Layouts({name: shape.bank(features[name], *facts) for name, shape in every.items()})
    probe, all_rows, judged = MeanOfShapes(linear), tuple(folds.rows), folds
    chosen = probe.choose(banks, Fold("all", all_rows, all_rows))
    if how == "linear":
        runs = predictions([probe], [banks], folds, "linear")
        heads = [linear_head(banks.banks[name], all_rows, linear, strength) for name, strength in chosen.items()]
        head: torch.nn.Module = torch.nn.ModuleList(heads)
        trained = network
    else:
        pixels = Pixels(videos, marks, len(videos.classes), seen, machine).decode_all(folds.rows)

        def start(seed: int) -> Encoder:
            fresh = random_init(network, seed)
            fresh.load_state_dict(network.state_dict())
            return fresh

        read_out = Supervised(start, replace(budget, initial=RANDOM), classifier=NETWORKS[how])
        judged = folds.spread(budget.folds)
        seeds = [replace(read_out, seed=seed) for seed in range(budget.seeds)]
        runs = predictions(seeds, [pixels], judged, how)
        head = read_out.train(pixels, start(read_out.seed), all_rows)
        trained = head.encoder
        trained.card = network.card
        if how == "fine_tune":
            features, _ = read_features(trained, found, every, machine)
    calibration = calibrate(runs[0])
    drawn: Curve | str = "not asked for"
    if curve:
        drawn = "videos show several classes" if several else learning_curve(banks, folds, chosen)
    lengths = videos.column("duration").to_numpy()
    rows = np.linspace(0, len(videos) - 1, min(len(videos), SOME)).astype(int)
    some = features[next(iter(every))][rows].mean(1)
    spread = torch.tensor(np.stack([some.mean(0), some.std(0)]))
    settings = Settings(
        how=how,
        shapes=tuple(every.values()),
        classes=tuple(videos.classes),
        several=several,
        temperature=calibration.temperature,
        typical=float(np.median(lengths)),
        longest=float(lengths.max()),
        alike=likeness_between(standardised(torch.tensor(some), spread), groups[rows]),
        unit=bool(getattr(head, "unit", False)),
    )
    model = VideoClassifier(trained, head, settings, spread, machine)
    summary = summary_of(runs, judged, videos.classes, several)
    kept = chosen if how == "linear" else None
    return Fitted(model, found, judged, marks, summary, chance_of(marks, judged), calibration, drawn, kept)


def outer_folds(videos: Manifest, split: Split | None, group: str | None = None) -> Folds:
    """Divide videos by a split, or into at most five folds that keep groups whole.

    Raises:
        ValueError: if they don't fit, see `avssl.evaluation.splits.check_folds`.
    """
    if split is not None and group is not None:
        raise ValueError("split and group: give only one of them; the groups of a split are its own")
    if split is None:
        pattern = group if group is None or "(?P<group>" in group else f"(?P<group>{group})"
        try:
            units = set(groups_of(videos, pattern))
        except re.error as error:
            raise ValueError(f"group={group!r} is not a regular expression: {error}") from error
        split = GroupFolds(max(2, min(FOLDS, len(units))), pattern)
    return check_folds(split(videos), videos)


def likeness_between(units: Tensor, groups: Ints) -> float:
    """Return the largest product of unit vectors ``[V, D]`` of different groups, within `ALIKE`.

    Videos that are more alike than any two of different groups are near duplicates.
    """
    products = units @ units.T
    apart = torch.from_numpy(groups[:, None] != groups[None])
    return float(products[apart].max().clamp(*ALIKE))


def summary_of(
    runs: Sequence[Sequence[Prediction]], folds: Folds, classes: Sequence[str], several: bool
) -> Summary | AveragePrecision:
    """Summarise the predictions of the outer folds."""
    if not several:
        return summarise(runs, folds.groups)
    chosen = [[one.chosen for one in run] for run in runs]
    found = summarise_several(runs, folds.groups, classes)["mAP"]
    return replace(found, chosen=None if chosen[0][0] is None else chosen)


def chance_of(labels: NDArray[np.signedinteger], folds: Folds) -> float:
    """Return the accuracy of always saying the largest class, or the mean average precision of any order."""
    tested = np.concatenate([labels[list(fold.test)] for fold in folds.folds])
    return chance_precision(tested) if tested.ndim == 2 else float(np.bincount(tested).max() / len(tested))


def write_classifier(fitted: Fitted, output: str | Path, told: Mapping[str, Any], write_rest: Any) -> Path:
    """Write a classifier into a folder that appears complete or not at all; ``write_rest`` adds files to it.

    Raises:
        ValueError: if the folder exists.
    """
    output = check_output(output)
    partial = output.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        model = fitted.model
        model.settings = replace(model.settings, told=told)
        model.save(partial)
        write_rest(partial)
        partial.replace(check_output(output))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output


def check_output(output: str | Path) -> Path:
    """Return the path of a folder to write; raise ValueError if something is there."""
    output = Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"{output}: exists already, and nothing is overwritten: name another folder, or remove it")
    return output
