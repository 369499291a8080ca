"""Evaluation protocol: data, split, views and read-outs, fixed before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.evaluation.attentive import AttentiveProbe
from avssl.evaluation.budget import Budget
from avssl.evaluation.classes import class_numbers, one_each, presence
from avssl.evaluation.episodes import Episodes
from avssl.evaluation.features import Views
from avssl.evaluation.layout import LayoutMean, LayoutProbe
from avssl.evaluation.metrics import Scoring
from avssl.evaluation.precision import chance_precision
from avssl.evaluation.probes import LinearProbe, NearestNeighbours
from avssl.evaluation.readout import (
    Bank,
    Floats,
    Ints,
    ReadOut,
    Source,
    cross_validate,
    cross_validate_several,
)
from avssl.evaluation.results import AveragePrecision, Summary
from avssl.evaluation.settings import LATER, digest, plain
from avssl.evaluation.splits import Folds, Split, check_folds
from avssl.evaluation.store import Shards
from avssl.evaluation.training_clips import Pixels
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine

IDENTITY = ("name", "data", "split", "views")  # keys that every read-out depends on, see `DownstreamTask.facts`


@dataclass(frozen=True)
class LabelledVideos:
    """The labelled videos.

    Args:
        root: a folder of class folders, a manifest made by ``avssl index``, or several of these one after the other.
        classes: number of classes that it must have; None for any.
    """

    root: tuple[Path, ...] | Path
    classes: int | None = None


@dataclass(frozen=True)
class LowShot:
    """Training with few labels.

    Args:
        shots: labels per class.
        draws: number of draws of the labels, in every fold.
        strength: C of the linear probe; with so few labels it can't be chosen.
        fine_tune: schedule of training the whole network, pretrained and from scratch; None leaves it out.
            ``fine_tune.seeds`` is the number of draws.
        fine_tune_shots: labels per class for that.
    """

    shots: tuple[int, ...] = (1, 2, 5, 10)
    draws: int = 5
    strength: float = 0.01
    fine_tune: Budget | None = None
    fine_tune_shots: tuple[int, ...] = (2, 5)

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("shots", "draws", "fine_tune_shots"), "[1, inf)")
        check_ranges("low_shot", self, **counts, strength="(0, inf)")


@dataclass(frozen=True)
class Protocol:
    """Everything that must be equal for two numbers to be compared. A read-out that is None is left out.

    Args:
        name: name of the protocol; results go to ``<run>/eval/<name>/``.
        data: the labelled videos.
        split: training and test videos of each fold.
        views: clips and crops per video.
        seeds: seeds of the randomly initialised encoders; with none, they are left out.
        linear: linear probe on frozen features.
        neighbours: weighted k nearest neighbours.
        retrieval: ranks R at which R@R is reported.
        low_shot: few labels.
        fine_tune: schedule of fine-tuning, and of training from scratch.
        attentive: schedule of the attentive probe, a query that reads the maps of the frozen encoder.
        ordered: also read a video's clips and a frame encoder's segments in their order (``linear_sequence``,
            ``..._ordered``), whose many features take long in wide networks.
        layers: inner layers of the encoder, from 0, that are also read (``linear_layer2``, ``neighbours_layer2``, ...):
            the blocks of a transformer, the stages of a convolutional network.
        episodes: few-shot episodes.
        scoring: how a video's views are combined, and whether test videos without a class count.
        layout: linear probe on maps averaged on a grid, of the clips in order or of a clip of the whole video.
        layout_mean: the mean of such probes' probabilities over all of their shapes.
        attentive_probe: the attentive probe of V-JEPA 2 on stored maps, with positions and several schedules at once.
        linear_augmented: schedule of a linear layer on the frozen encoder, trained on clips that are changed anew.
    """

    name: str
    data: LabelledVideos
    split: Split
    views: Views = field(default_factory=Views)
    seeds: tuple[int, ...] = (0, 1, 2)
    linear: LinearProbe | None = field(default_factory=LinearProbe)
    neighbours: NearestNeighbours | None = field(default_factory=NearestNeighbours)
    retrieval: tuple[int, ...] = (1, 5, 10, 20, 50)
    low_shot: LowShot | None = None
    fine_tune: Budget | None = None
    attentive: Budget | None = None
    ordered: bool = field(default=True, metadata=LATER)
    layers: tuple[int, ...] = field(default=(), metadata=LATER)
    episodes: Episodes | None = field(default=None, metadata=LATER)
    scoring: Scoring = field(default_factory=Scoring, metadata=LATER)
    layout: LayoutProbe | None = field(default=None, metadata=LATER)
    layout_mean: LayoutMean | None = field(default=None, metadata=LATER)
    attentive_probe: AttentiveProbe | None = field(default=None, metadata=LATER)
    linear_augmented: Budget | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_ranges("", self, seeds="[0, inf)", retrieval="[1, inf)", layers="[0, inf)")


class DownstreamTask:
    """A protocol with its videos opened and its folds checked.

    Args:
        protocol: the protocol.
        folder: where trainings that were stopped resume from; None keeps nothing.

    Attributes:
        several: some video in use does not show exactly one class, but several or none: results are mean average
            precisions instead of accuracies.
        labels: ``[V]`` classes, -1 for none; if ``several``, int8 ``[V, K]``: 1 shown, -1 not shown.
        groups: ``[V]`` numbers of the units that must not be split.
        rows: positions of the videos in use.

    Raises:
        MediaError: if the collection can't be opened.
        FileNotFoundError: if a split file is missing.
        ValueError: if the collection does not fit the split (see `check_folds`), has fewer than two classes, or another
            number than the protocol says.
    """

    def __init__(self, protocol: Protocol, folder: Path | None = None) -> None:
        self.protocol, self.folder = protocol, folder
        self.videos: Manifest = open_manifest(protocol.data.root)
        if len(self.videos.classes) < 2:
            raise ValueError(
                f"{protocol.data.root}: {len(self.videos.classes)} class(es) found ({self.videos.classes}): a labelled "
                "collection has one folder per class, or a manifest with labels (avssl index --labels)"
            )
        wanted = protocol.data.classes
        if wanted is not None and len(self.videos.classes) != wanted:
            raise ValueError(
                f"{protocol.data.root}: {len(self.videos.classes)} classes, such as {self.videos.classes[:3]}, but "
                f"{protocol.name} has {wanted}. Index the collection with this protocol's lists (avssl index --labels; "
                "its config says how), or set data.classes=null to evaluate a part of it"
            )
        self.folds: Folds = check_folds(protocol.split(self.videos), self.videos)
        self.rows: list[int] = self.folds.rows
        self.several = not one_each(self.videos, self.rows)
        self.labels: NDArray[np.signedinteger] = (presence if self.several else class_numbers)(self.videos)
        self.groups: Ints = np.unique(self.folds.groups, return_inverse=True)[1]
        self._pixels: Pixels | None = None

    def bank(self, features: Floats | Shards, device: str = "cpu") -> Bank:
        """Add the labels and groups to features ``[V, M, D]``; ``device`` is where large banks are worked on."""
        return Bank(features, self.labels, self.groups, self.classes, device)

    def measure(
        self, read_outs: Sequence[ReadOut[Source]], banks: Sequence[Source], folds: Folds | None = None, title: str = ""
    ) -> Summary | AveragePrecision:
        """Cross-validate a read-out on the task's folds or some of them: accuracies, or mean average precision."""
        folds, scoring = folds or self.folds, self.protocol.scoring
        if self.several:
            return cross_validate_several(read_outs, banks, folds, self.videos.classes, title, scoring)
        return cross_validate(read_outs, banks, folds, title, scoring)

    def pixels(self, machine: Machine) -> Pixels:
        """Return the labelled clips; they are decoded once where memory allows."""
        if self._pixels is None or self._pixels.machine != machine:
            pixels = Pixels(self.videos, self.labels, self.classes, self.protocol.views, machine, folder=self.folder)
            self._pixels = pixels.decode_all(self.rows)
        return self._pixels

    @property
    def classes(self) -> int:
        """K."""
        return len(self.videos.classes)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Identity of the protocol in a result; two results are comparable where ``hash`` is equal."""
        split = {"class": type(self.protocol.split).__name__, **plain(vars(self.protocol.split))}
        return identify(self.protocol.name, self.videos, self.folds, self.protocol.views, self.videos.classes, split)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings of each read-out; numbers of one read-out are comparable where its settings are equal."""
        return {key: value for key, value in plain(self.protocol).items() if key not in IDENTITY}

    def chance(self) -> dict[str, Any]:
        """Return the chance levels: always the largest classes, or videos in random order."""
        tested = np.concatenate([self.labels[list(fold.test)] for fold in self.folds.folds])
        if self.several:
            return {"mAP": chance_precision(self.protocol.scoring.counted(tested))}
        share = np.sort(np.bincount(tested, minlength=self.classes) / len(tested))[::-1]
        found: dict[str, float] = {}
        for rank in self.protocol.retrieval:
            hits = []
            for fold in self.folds.folds:
                counts = np.bincount(self.labels[list(fold.train)], minlength=self.classes)
                drawn = min(rank, len(fold.train))
                hits.append(1 - hypergeom.pmf(0, len(fold.train), counts[self.labels[list(fold.test)]], drawn))
            found[f"R@{rank}"] = float(np.concatenate(hits).mean())
        found |= {} if self.protocol.episodes is None else self.protocol.episodes.chance()
        return {"top1": float(share[0]), "top5": float(share[:5].sum()), "mean_per_class": 1 / self.classes, **found}


def identify(
    name: str,
    videos: Manifest,
    folds: Folds,
    views: Views,
    classes: Sequence[str],
    split: Any,
    labels: str | None = None,
) -> dict[str, Any]:
    """Return the identity of a protocol in a result; see `DownstreamTask.facts`.

    ``split`` describes the split for readers; ``labels`` is a digest of labels that are not the collection's own.
    """
    names = _names(videos)
    listed = [
        [fold.name, fold.part, *([names[i] for i in side] for side in (fold.train, fold.test))] for fold in folds.folds
    ]
    compared = {
        "name": name,
        "data": videos.select(folds.rows).fingerprint,
        "classes": list(classes),
        "split": split,
        "folds": digest(listed),
        "views": {"frames" if key == "num_frames" else key: value for key, value in plain(views).items()},  # older name
        **({} if labels is None else {"labels": labels}),
    }
    return {
        **compared,
        "hash": digest({**compared, "split": None}),  # the folds themselves count, not how they were written down
        "videos": len(folds.rows),
        "rejected": len(videos.rejected),
        "sizes": [
            {"fold": fold.name, "train": len(fold.train), "test": len(fold.test), "missing": fold.missing}
            for fold in folds.folds
        ],
        "duplicates": [list(pair) for pair in folds.duplicates],
        **({"untrained": list(folds.untrained)} if folds.untrained else {}),
    }


def _names(videos: Manifest) -> list[str]:
    """Return what tells the rows apart: the path of each below its root, and of a segment also where it lies."""
    columns = (videos.column(name).to_pylist() for name in ("asked", "start", "duration"))
    return [
        key if asked is None else f"{key}@{start or 0.0}+{duration}"
        for key, asked, start, duration in zip(videos.keys.to_pylist(), *columns, strict=True)
    ]
