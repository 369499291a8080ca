"""What encoders are worth: label-free criteria on all videos, inner and outer folds on the labelled ones.

Everything that is chosen (task, strength of the penalty on each shape of the features) is chosen by inner folds of an
outer fold's training videos; the outer folds alone give the accuracy that is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avssl.applications.advise.survey import as_pattern, sample
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.choosing import inner_parts, worth
from avssl.evaluation.classes import class_numbers, one_each
from avssl.evaluation.classifier.fitting import FOLDS, OwnViews, chance_of
from avssl.evaluation.classifier.shapes import shapes_for
from avssl.evaluation.collapse import monitors
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import Views
from avssl.evaluation.layout import Layouts, MeanOfShapes, single
from avssl.evaluation.metrics import Prediction, summarise
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.results import Summary
from avssl.evaluation.splits import Fold, Folds, GroupFolds, check_folds, groups_of
from avssl.runtime.device import Machine

PROBE = LinearProbe(strengths=(1e-4, 1e-3, 1e-2, 1e-1))
WATCHED = 100  # videos on which label-free criteria are measured
TWO = OwnViews(clips=2)  # views of a video for these
COLLAPSED = 0.1, 1.5  # relative deviation, and effective rank, below which features tell videos hardly apart
Judgement = dict[str, Any]  # JSON: what `judge` returns


@dataclass(frozen=True)
class Labels:
    """Labelled videos of a collection, one class each, and their outer folds.

    Attributes:
        videos: the labelled ones.
        marks: ``[V]`` classes.
        units: ``[V]`` numbers of the groups.
        split: how they are divided.
        folds: outer folds.
        probe: the read-out, with as many inner folds as the smallest training set allows.
        left_out: what was not used, in words.
    """

    videos: Manifest
    marks: NDArray[np.int64]
    units: NDArray[np.int64]
    split: GroupFolds
    folds: Folds
    probe: LinearProbe
    left_out: tuple[str, ...] = ()

    @property
    def chance(self) -> float:
        """Accuracy of always saying the largest class."""
        return chance_of(self.marks, self.folds)


def labels_of(videos: Manifest, group: str | None = None) -> Labels | str:
    """Return the labelled videos of a collection, or say why there is nothing to judge by.

    Classes with videos of a single group are left out, as they can't be both trained and tested.

    Raises:
        ValueError: if videos show several classes, or the group's pattern does not fit.
    """
    known = np.flatnonzero([names is not None for names in videos.column("labels").to_pylist()])
    if not len(known):
        return "no video has a label"
    if not one_each(videos, known.tolist()):
        raise ValueError("some videos show several classes or none, and advice needs one each: see avssl fit for these")
    some = videos.select(known)
    names = [own[0] for own in some.column("labels").to_pylist()]
    units = groups_of(some, as_pattern(group))
    groups = Counter(name for name, _ in {*zip(names, units, strict=True)})
    poor = sorted(name for name, count in groups.items() if count < 2)
    told = tuple(
        f"class {name!r}: {names.count(name)} labelled video(s) in one group: it can't be both trained on and tested, "
        "and is left out"
        for name in poor
    )
    if len(groups) - len(poor) < 2:
        return "; ".join((*told, f"{len(groups) - len(poor)} class(es) left: at least two are needed"))
    kept = [row for row, name in enumerate(names) if name not in poor]
    used = relabelled(some.select(kept))
    marks = class_numbers(used)
    parts = min(FOLDS, max(count for name, count in groups.items() if name not in poor))
    split = GroupFolds(parts, as_pattern(group))
    folds = check_folds(split(used), used)
    inner = min(int(np.bincount(marks[list(fold.train)]).max()) for fold in folds.folds)
    if inner < 2:
        return "; ".join((*told, "no class has labelled videos in three groups: nothing can be both chosen and tested"))
    probe = replace(PROBE, inner_folds=min(PROBE.inner_folds, inner))
    return Labels(used, marks, np.unique(folds.groups, return_inverse=True)[1], split, folds, probe, told)


def judge(encoder: Encoder, videos: Manifest, labels: Labels | None, machine: Machine, size: int) -> Judgement:
    """Measure an encoder.

    Args:
        encoder: with its card.
        videos: the collection, for the label-free criteria.
        labels: those of some videos, or None.
        machine: where to compute.
        size: height and width of the frames for an encoder whose card tells no clips.

    Returns:
        ``criteria`` (see `avssl.evaluation.collapse.monitors`), ``collapsed``; and with labels for each outer fold
        ``inner`` (accuracy over inner folds of the mean of all shapes, each at its best strength), ``chosen`` (these)
        and ``scores`` (``[V, K]`` class probabilities of the test videos), beside ``all``, the inner accuracy on all
        labelled videos.
    """
    found: Judgement = {}
    criteria = monitors(torch.from_numpy(clip_features(encoder, videos, machine, size))) if len(videos) > 1 else {}
    found["criteria"] = {name: value for name, value in criteria.items() if np.isfinite(value)}
    found["collapsed"] = bool(criteria) and (
        criteria["feature_std"] < COLLAPSED[0] or criteria["rankme"] < COLLAPSED[1]
    )
    if labels is None:
        return found
    banks = layouts(encoder, labels, machine, size)
    everything, mean = tuple(labels.folds.rows), MeanOfShapes(labels.probe)
    found["all"], _ = inner_accuracy(labels.probe, banks, Fold("all", everything, everything))
    found |= {"inner": [], "chosen": [], "scores": []}
    for fold in labels.folds.folds:
        reached, chosen = inner_accuracy(labels.probe, banks, fold)
        scores = mean.predict(banks, fold.train, fold.test, chosen)
        found["inner"].append(reached)
        found["chosen"].append(chosen)
        found["scores"].append(scores.mean(1).astype(float).tolist())
    return found


def relabelled(videos: Manifest, known: bool = True) -> Manifest:
    """Return videos whose classes are those that they show; or, with ``known=False``, without any."""
    rows = Manifest.concat([videos]).to_rows()  # with absolute roots
    return Manifest.from_rows(rows if known else [{**row, "labels": None} for row in rows])


def views_of(size: int, encoder: Encoder, views: OwnViews) -> Views:
    """Return the views of an encoder, at the given size where its card tells no clips."""
    own = (
        views
        if "clip" in encoder.card or next(encoder.parameters(), None) is not None
        else OwnViews(views.clips, size=size)
    )
    return own.of(encoder)


def clip_features(encoder: Encoder, videos: Manifest, machine: Machine, size: int) -> NDArray[np.float32]:
    """Return features ``[V, 2, D]`` of two clips of each of a sample of the videos, see `watched`."""
    features = extract_features(encoder, videos, watched(videos), views_of(size, encoder, TWO), machine, (1, 1, 1))
    return np.asarray(features[:])


def watched(videos: Manifest) -> list[int]:
    """Return the positions of the videos on which label-free criteria are measured."""
    return sample(len(videos), WATCHED)


def layouts(encoder: Encoder, labels: Labels, machine: Machine, size: int) -> Layouts:
    """Return the features of the labelled videos in all shapes."""
    rows = range(len(labels.videos))
    facts = (labels.marks, labels.units, len(labels.videos.classes), encoder.num_features)
    shapes = shapes_for(encoder, views_of(size, encoder, OwnViews()))
    return Layouts(
        {
            name: shape.bank(extract_features(encoder, labels.videos, rows, shape.views, machine, shape.grid), *facts)
            for name, shape in shapes.items()
        }
    )


def inner_accuracy(probe: LinearProbe, banks: Layouts, fold: Fold) -> tuple[float, dict[str, float]]:
    """Return the accuracy over inner folds of the mean of all shapes, and the strength of each that does best there."""
    train, right = np.asarray(fold.train), np.zeros((len(banks.banks), len(probe.strengths)))
    answers: list[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]] = []  # labels, and [shapes, strengths, M, K]
    for inner, held in inner_parts(banks, fold, probe.inner_folds):
        args = train[inner].tolist(), train[held].tolist(), probe.strengths
        every = [
            [scores.mean(1) for scores in probe.candidates(own, *args, combine=single(own))]
            for own in banks.banks.values()
        ]
        marks = banks.labels[train[held]]
        right += [[worth(marks, scores) for scores in shape] for shape in every]
        answers.append((marks, np.asarray(every)))
    best = right.argmax(1)
    means = [(marks, found[np.arange(len(best)), best].mean(0)) for marks, found in answers]
    reached = sum(worth(marks, mean) for marks, mean in means) / max(1, sum(len(marks) for marks, _ in means))
    return reached, {name: probe.strengths[place] for name, place in zip(banks.banks, best, strict=True)}


def nested(
    judged: Mapping[str, Judgement], pools: Sequence[Sequence[str]], labels: Labels
) -> tuple[Summary, list[str]]:
    """Return the accuracy of choosing in each outer fold, by its inner folds, among the encoders of its pool.

    Args:
        judged: judgements by the encoder's name.
        pools: for each outer fold the names to choose from; of equals, the first is chosen.
        labels: the labels that they were judged by.

    Returns:
        The summary over all outer folds, and the names that were chosen.
    """
    names, predictions = [], []
    for number, (fold, pool) in enumerate(zip(labels.folds.folds, pools, strict=True)):
        name = max(pool, key=lambda one: judged[one]["inner"][number])
        test = np.asarray(fold.test)
        scores = np.asarray(judged[name]["scores"][number], np.float32)[:, None]  # [V_test, 1, K]
        chosen = [name, judged[name]["chosen"][number]]
        predictions.append(Prediction(fold.name, fold.part, test, labels.marks[test], scores, chosen))
        names.append(name)
    return summarise([predictions], labels.folds.groups), names
