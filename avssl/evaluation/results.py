"""Typed results: scores with intervals, and the content of ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

Interval: TypeAlias = Sequence[float]  # (low, high) of a 95 % interval


@dataclass(frozen=True)
class Score:
    """A number with its bootstrap interval over groups of videos and seeds."""

    value: float
    ci95_bootstrap: Interval


@dataclass(frozen=True)
class Accuracy(Score):
    """Accuracy over all folds; ``value`` is the mean over the folds of a part, then over parts, then over seeds.

    ``pooled`` is the mean over all tested videos, each counted once. ``per_fold`` and, for several parts, ``per_part``
    are by name; ``ci95_folds`` is the Student-t interval over several folds.
    """

    pooled: float
    per_seed: Sequence[float]
    per_fold: Mapping[str, float]
    ci95_folds: Interval | None = None
    per_part: Mapping[str, float] | None = None


@dataclass(frozen=True)
class EpisodeAccuracy(Score):
    """Accuracy over few-shot episodes; ``ci95_bootstrap`` is over groups of queries and seeds.

    Attributes:
        ci95_episodes: Student-t interval over episodes, as papers report it; they share videos, so it is too narrow.
        per_seed: by seed.
        episodes: number of episodes.
        classes: number of classes that they were drawn from.
    """

    ci95_episodes: Interval
    per_seed: Sequence[float]
    episodes: int
    classes: int


@dataclass(frozen=True)
class AveragePrecision(Score):
    """Mean average precision over classes, of the test videos of all folds ranked together.

    Attributes:
        per_seed: by seed.
        per_class: by class that any video shows.
        costs: the C that each seed chose for each class, of SVMs.
        draws: one string per seed with the values in 2000 draws of groups, the same for all results on the same videos.
        chosen: hyperparameter chosen in each fold, one list per seed; None if nothing is chosen.
    """

    per_seed: Sequence[float]
    per_class: Mapping[str, float]
    costs: Sequence[Sequence[float]] | None = None
    draws: Sequence[str] | None = None
    chosen: Sequence[Sequence[Any]] | None = None


@dataclass(frozen=True)
class Summary:
    """Accuracies of a read-out that predicts a class for every video.

    Attributes:
        video: accuracy of the mean probability over a video's views: ``top1``, and ``top5`` for more than five classes.
        clip: the same for each view on its own.
        mean_per_class: video top-1, averaged over classes.
        confusion: ``confusion[true][predicted]``, counts of videos over all seeds.
        hits: one string per seed, with 1 for every tested video that was right; None in results older than this field.
        units: number of each tested video's group; None if each video is a group of its own.
        chosen: hyperparameter chosen in each fold, one list per seed; None if nothing is chosen.
    """

    video: Mapping[str, Accuracy]
    clip: Mapping[str, Accuracy]
    mean_per_class: float
    confusion: Sequence[Sequence[int]]
    hits: Sequence[str] | None = None
    units: Sequence[int] | None = None
    chosen: Sequence[Sequence[Any]] | None = None

    @property
    def top1(self) -> Accuracy:
        """Video top-1 accuracy."""
        return self.video["top1"]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        video = to_json(self.video) | {"mean_per_class": {"value": self.mean_per_class}}
        levels = {"video": video, "clip": to_json(self.clip), "confusion": self.confusion}
        kept = {} if self.hits is None else {"hits": self.hits, "units": self.units}
        return levels | kept | ({} if self.chosen is None else {"chosen": self.chosen})

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Summary:
        """Build from the values of `to_json`."""
        levels = {level: dict(found[level]) for level in ("video", "clip")}
        mean = levels["video"].pop("mean_per_class")["value"]
        video, clip = ({name: Accuracy(**score) for name, score in level.items()} for level in levels.values())
        rest = {name: found.get(name) for name in ("hits", "units", "chosen")}
        return cls(video, clip, mean, found["confusion"], **rest)


@dataclass(frozen=True)
class Skipped:
    """A read-out that could not run, and the reason."""

    skipped: str


Outcome: TypeAlias = Summary | Skipped | Score | Mapping[str, "Outcome"]  # of several ranks or numbers of labels
Outcomes: TypeAlias = Mapping[str, Mapping[str, Outcome]]  # of "pretrained", "random_init", ...; by read-out


def to_json(value: Any) -> Any:
    """Return the JSON values of outcomes and other dataclasses, whose fields that are None are left out."""
    if isinstance(value, Summary):
        return value.to_json()
    if is_dataclass(value):
        value = {name: part for name, part in vars(value).items() if part is not None}
    return {name: to_json(part) for name, part in value.items()} if isinstance(value, Mapping) else value


def from_json(found: Mapping[str, Any]) -> Any:
    """Build outcomes from their JSON values."""
    if "skipped" in found:
        return Skipped(found["skipped"])
    if "video" in found:
        return Summary.from_json(found)
    if "value" in found:
        kinds = {"per_fold": Accuracy, "per_class": AveragePrecision, "ci95_episodes": EpisodeAccuracy}
        return next((kind for name, kind in kinds.items() if name in found), Score)(**found)
    return {name: from_json(part) for name, part in found.items()}


@dataclass(frozen=True)
class Results:
    """Content of ``results.json``.

    Attributes:
        run: name of the run.
        encoder: the exported encoder's card.
        protocol: identity of the protocol, see `avssl.evaluation.protocol.identify`.
        settings: settings of each read-out.
        chance: chance levels.
        outcomes: what is stored as ``results``: outcomes of the ``pretrained`` encoder, of the same network at
            ``random_init`` and, if a read-out trains it, ``from_scratch``.
        environment: versions, device and seconds.
    """

    run: str
    encoder: Mapping[str, Any]
    protocol: Mapping[str, Any]
    settings: Mapping[str, Any]
    chance: Mapping[str, float]
    outcomes: Outcomes
    environment: Mapping[str, Any]

    def summary(self, name: str, who: str = "pretrained") -> Summary | None:
        """Return the summary of a read-out; None if it is missing or older than ``hits``."""
        found = self.outcomes.get(who, {}).get(name)
        return found if isinstance(found, Summary) and found.hits is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"results" if name == "outcomes" else name: to_json(value) for name, value in vars(self).items()}

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a ``results.json``."""
        found = json.loads(path.read_text())
        return cls(outcomes=from_json(found.pop("results")), **found)
