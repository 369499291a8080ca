"""Evaluation of synchronisers: telling in sync from out of sync, and finding offsets (positive: the sound is late)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from avssl.catalog.manifest import Manifest
from avssl.evaluation.metrics import bootstrap, interval
from avssl.media import AudioClip, VideoInfo, VideoReader, open_video
from avssl.runtime.progress import Tally
from avssl.sync.network import Synchroniser
from avssl.sync.offset import curve, load_synchroniser, offset_from, offset_grid

SHIFTED = 0.2  # smallest offset in seconds that counts as out of sync


@dataclass(frozen=True)
class Rate:
    """A number with its interval (bootstrap over groups of recordings) and chance level."""

    value: float
    ci95: tuple[float, float]
    chance: float


@dataclass(frozen=True)
class Errors:
    """Errors of estimated offsets in milliseconds: estimated minus true."""

    median_absolute: float
    mean: float
    each: list[float]


@dataclass(frozen=True)
class SynchronyResults:
    """Result of `measure_synchrony`."""

    videos: int  # recordings measured
    left_out: int  # recordings that are too short or silent
    auc: Rate  # a pair in sync against pairs at least 0.2 s out of sync, pooled over recordings
    accuracy: Rate  # share of such pairs of one recording in which the one in sync is nearer
    auc_other_video: Rate  # in sync against the sound of the next other recording (easy negatives)
    within_a_frame: Rate  # share of errors of at most one frame; chance draws offsets evenly from the curve
    within_200_ms: Rate  # the same for 0.2 s
    error_ms: Errors
    confidence: dict[str, float]  # ``median`` over recordings


@dataclass(frozen=True)
class Measurement:
    """Scores and errors of one recording, in seconds."""

    error: float  # estimated minus true offset
    confidence: float
    in_sync: float  # score of the pair in sync
    shifted: list[float]  # scores of the pairs out of sync
    other: float  # score of the sound of another recording
    chance_frame: float  # share of the curve's offsets within one frame of the true one
    chance_200: float  # the same within 0.2 s
    frame: float  # duration of a frame


class Displaced:
    """A reader of a recording out of sync: its sound is ``late`` by some seconds, or another recording's."""

    def __init__(self, picture: VideoReader, late: float, sound: VideoReader | None = None) -> None:
        self._picture, self._late, self._sound = picture, late, sound or picture
        source = self._sound.info.audio
        self.info = replace(picture.info, audio=source and replace(source, start=source.start + late))

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Read frames; see ``VideoReader.frames``."""
        return self._picture.frames(times, size)

    def audio(self, start: float, stop: float, rate: int, channels: int = 1) -> AudioClip:
        """Read the displaced sound; see ``VideoReader.audio``."""
        clip = self._sound.audio(start - self._late, stop - self._late, rate, channels)
        return AudioClip(clip.samples, (clip.valid[0] + self._late, clip.valid[1] + self._late))

    def close(self) -> None:
        """Do nothing: the readers belong to the caller."""

    def __enter__(self) -> Displaced:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def measure_synchrony(
    videos: Manifest, run: str | Path | Synchroniser, reach: float = 0.4, resolution: float = 0.02, seed: int = 0
) -> SynchronyResults:
    """Measure a synchroniser (a run, see `load_synchroniser`, or the network) on recordings that are in sync.

    Each recording's sound is delayed by an offset drawn evenly from the grid within half the reach. ``reach`` and
    ``resolution`` are seconds, see `find_offset`; ``seed`` is that of the offsets.

    Raises:
        FileNotFoundError: if the run has no synchroniser.
        ValueError: if no recording can be measured.
    """
    network = run if isinstance(run, Synchroniser) else load_synchroniser(run)
    rng = np.random.default_rng(seed)
    grid = offset_grid(reach, resolution)
    inner = grid[grid.abs() <= reach / 2 + 1e-9]
    drawn = inner[torch.from_numpy(rng.integers(len(inner), size=len(videos)))].tolist()
    others = _others(videos)
    rows: list[Measurement] = []
    groups: list[str] = []
    with Tally("synchrony", len(videos)) as tally:
        for index, late in enumerate(drawn):
            info, other = videos[index], videos[others[index]]
            if (row := _measure(info, other, late, network, grid)) is not None:
                rows.append(row)
                groups.append(info.group or str(info.path))
            tally.add("left out" if row is None else "measured")
    if not rows:
        raise ValueError(f"none of {len(videos)} recordings is long enough to be measured over +-{reach} s")
    return _summary(rows, groups, len(videos) - len(rows), seed)


def _others(videos: Manifest) -> list[int]:
    """Return the next row of another recording for each row; where all are of one recording, the next row."""
    names, count = videos.keys.to_pylist(), len(videos)
    found = [(row + 1) % count for row in range(count)]
    if len(set(names)) > 1:
        for row in reversed(range(2 * count)):  # twice, as the last rows continue with the first
            here, after = row % count, (row + 1) % count
            found[here] = found[after] if names[after] == names[here] else after
    return found


def _measure(info: VideoInfo, other: VideoInfo, late: float, network: Synchroniser, grid: Tensor) -> Measurement | None:
    """Measure one recording; None if it is too short."""
    with open_video(info.path, info=info) as reader, open_video(other.path, info=other) as stranger:
        try:
            found = offset_from(curve(Displaced(reader, late), network, grid))
            easy = curve(Displaced(reader, 0.0, stranger), network, torch.zeros(1, dtype=torch.float64))
        except ValueError:
            return None
    away = (found.curve.offsets - late).abs()  # seconds from in sync
    if away.min() > 1e-6 or not (away >= SHIFTED).any():
        return None
    return Measurement(
        error=found.seconds - late,
        confidence=found.confidence,
        in_sync=-found.curve.distances[away.argmin()].item(),
        shifted=(-found.curve.distances[away >= SHIFTED - 1e-6]).tolist(),
        other=-easy.distances[0].item(),
        chance_frame=(away <= 1 / info.fps + 1e-6).double().mean().item(),
        chance_200=(away <= SHIFTED + 1e-6).double().mean().item(),
        frame=1 / info.fps,
    )


def auc(positive: NDArray[np.float64], negative: Sequence[Sequence[float]]) -> float:
    """Return the probability that a positive scores higher than a negative, of any recording; ties count half."""
    others = np.concatenate([np.asarray(values, dtype=np.float64) for values in negative])
    truth = np.repeat([1, 0], [len(positive), len(others)])
    return float(roc_auc_score(truth, np.concatenate([positive, others])))


def _summary(rows: Sequence[Measurement], groups: Sequence[str], left_out: int, seed: int) -> SynchronyResults:
    error = np.array([row.error for row in rows])
    in_sync = np.array([row.in_sync for row in rows])
    shifted, other = [row.shifted for row in rows], [[row.other] for row in rows]

    def share(values: NDArray[np.float64], chance: float) -> Rate:
        return Rate(float(values.mean()), bootstrap(values[None], groups, seed), chance)

    def area(negative: list[list[float]]) -> Rate:
        return Rate(auc(in_sync, negative), _auc_interval(in_sync, negative, groups, seed), 0.5)

    def within(limit: float | NDArray[np.float64], chances: list[float]) -> Rate:
        return share((np.abs(error) <= limit + 1e-6).astype(float), float(np.mean(chances)))

    nearer = np.array([auc(value[None], [values]) for value, values in zip(in_sync, shifted, strict=True)])
    return SynchronyResults(
        videos=len(rows),
        left_out=left_out,
        auc=area(shifted),
        accuracy=share(nearer, 0.5),
        auc_other_video=area(other),
        within_a_frame=within(np.array([row.frame for row in rows]), [row.chance_frame for row in rows]),
        within_200_ms=within(SHIFTED, [row.chance_200 for row in rows]),
        error_ms=Errors(
            median_absolute=float(1000 * np.median(np.abs(error))),
            mean=float(1000 * error.mean()),
            each=(1000 * error).round(3).tolist(),
        ),
        confidence={"median": float(np.median([row.confidence for row in rows]))},
    )


def _auc_interval(
    positive: NDArray[np.float64], negative: Sequence[Sequence[float]], groups: Sequence[str], seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of the AUC from resampling whole groups."""
    members = [np.flatnonzero(np.asarray(groups) == name) for name in np.unique(groups)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(500):
        chosen = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
        values.append(auc(positive[chosen], [negative[place] for place in chosen]))
    return interval(values)
