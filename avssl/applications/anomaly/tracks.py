"""Scores over the seconds of each video, by one detector: a curve that says when something is odd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import yaml

from avssl.applications.anomaly.detectors import networks
from avssl.applications.anomaly.offsets import local_curves
from avssl.applications.anomaly.scoring import How, Reals, scorer
from avssl.applications.described import by_hand
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import Views
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally
from avssl.sync.network import Synchroniser
from avssl.sync.offset import load_synchroniser

By: TypeAlias = Literal["dirichlet", "log_softmax", "offset", "neighbours", "mahalanobis"]
MOST = 256  # clips of a video: of a longer one they are farther apart


class Track(NamedTuple):
    """Features or scores of one video, ``[M, D]`` or ``[M]``, at its ``[M]`` seconds."""

    seconds: Reals
    values: Any


@dataclass(frozen=True)
class Tracker:
    """A detector of moments.

    Attributes:
        name: of the run and the measure.
        how: the measure of its features.
        describe: returns the features of each of some videos.
        baseline: whether it is hand-made.
    """

    name: str
    how: How
    describe: Callable[[Manifest, Sequence[int]], list[Track]]
    baseline: bool = False

    def scored(self, normal: Sequence[Track], tested: Sequence[Track]) -> list[Track]:
        """Score the moments of each tested video by those of normal ones."""
        measure = scorer(self.how)
        measure.fit(np.concatenate([track.values for track in normal]))
        return [Track(track.seconds, measure.scores(track.values)) for track in tested]


def trackers(run: Path, by: Sequence[By], views: Views, hop: float, machine: Machine) -> list[Tracker]:
    """Return the detectors of a run: those named, or by default the one that its pretext task is best at.

    Raises:
        FileNotFoundError: if the run has no encoder.
        ValueError: if it can't be scored as asked.
    """
    parts: dict[By, Callable[[], Tracker]] = {}
    name = run.resolve().name
    for network, hows in networks(run).values():
        for how in hows:
            parts[how] = _of_clips(f"{name} {how}", how, network, views, hop, machine)
    synchroniser = _synchroniser(run)
    if synchroniser is not None:
        parts["offset"] = _of_sound(f"{name} offset", synchroniser)
    if missing := [how for how in by if how not in parts]:
        raise ValueError(f"{run}: can't be scored by {', '.join(missing)}; it can by {', '.join(parts)}")
    best: list[By] = ["dirichlet", "offset", "neighbours"]
    return [parts[how]() for how in (by or [how for how in best if how in parts][:1])]


def _of_clips(
    name: str, how: How, network: Encoder, views: Views, hop: float, machine: Machine
) -> Callable[[], Tracker]:
    def describe(videos: Manifest, rows: Sequence[int]) -> list[Track]:
        return _by_length(videos, rows, views, hop, lambda some, shown: _encoded(network, videos, some, shown, machine))

    return lambda: Tracker(name, how, describe)


def _encoded(network: Encoder, videos: Manifest, rows: Sequence[int], views: Views, machine: Machine) -> np.ndarray:
    found = extract_features(network, videos, rows, views, machine)
    values = np.asarray(found[list(range(len(rows)))])
    if not network.per_frame:
        return values
    return values.reshape(*values.shape[:2], -1, network.num_features).mean(2)


def _of_sound(name: str, network: Synchroniser) -> Callable[[], Tracker]:
    def describe(videos: Manifest, rows: Sequence[int]) -> list[Track]:
        found = []
        with Tally(name, len(rows)) as tally:
            for row in rows:
                found.append(Track(*local_curves(videos[row], network)))
                tally.add("videos")
        return found

    return lambda: Tracker(name, "mahalanobis", describe)


def motion_tracker(views: Views, hop: float, machine: Machine) -> Tracker:
    """Return the hand-made detector: five nearest neighbours of motion energy, or of thumbnails of single frames."""

    def describe(videos: Manifest, rows: Sequence[int]) -> list[Track]:
        return _by_length(videos, rows, views, hop, lambda some, shown: by_hand(videos, some, shown, machine))

    return Tracker("motion energy neighbours", "neighbours", describe, True)


def _by_length(
    videos: Manifest,
    rows: Sequence[int],
    views: Views,
    hop: float,
    describe: Callable[[Sequence[int], Views], np.ndarray],
) -> list[Track]:
    """Describe clips about ``hop`` seconds apart; videos with equally many clips are read together."""
    assert views.step is not None
    length = views.num_frames * views.step
    counts = {row: clips_in(videos[row].duration, length, hop) for row in rows}
    found: dict[int, Track] = {}
    for count in sorted(set(counts.values())):
        some = [row for row in rows if counts[row] == count]
        shown = replace(views, clips=count)
        for row, values in zip(some, describe(some, shown), strict=True):
            middles = shown.times(videos[row]).mean(1).numpy()
            found[row] = Track(middles, values)
    return [found[row] for row in rows]


def clips_in(duration: float, length: float, hop: float) -> int:
    """Return how many clips of ``length`` seconds, about ``hop`` apart, describe a video; at least one."""
    return int(min(MOST, 1 + max(0.0, duration - length) / hop + 1e-6))


def views_of(run: Path, views: Views | None) -> Views:
    """Return the clips that a run was trained on, as its kept config says; ``views`` if given.

    Raises:
        ValueError: if none are given, and the run's folder keeps no config with frames and step of its clips.
    """
    if views is not None:
        return views
    config = run / "config.yaml"
    kept = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
    sampler = kept.get("method", {}).get("init_args", {}).get("sampler") or {}
    sampler = sampler.get("init_args", sampler)
    size = kept.get("data", {}).get("transform", {}).get("init_args", {}).get("size")
    if not {"num_frames", "step"} <= sampler.keys() or size is None:
        raise ValueError(
            f"{run}: its folder does not say which clips it was trained on; give --views.num_frames, --views.step and "
            "--views.size"
        )
    return Views(clips=1, num_frames=sampler["num_frames"], step=sampler["step"], size=size, segments=1)


def _synchroniser(run: Path) -> Synchroniser | None:
    try:
        return load_synchroniser(run) if (run / "sync").is_dir() else None
    except FileNotFoundError:
        return None
