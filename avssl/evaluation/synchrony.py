"""How well a network tells in sync from out of sync and finds offsets, which are positive where the sound is late."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from avssl.catalog.manifest import Manifest
from avssl.evaluation.metrics import bootstrap
from avssl.media import AudioClip, VideoInfo, VideoReader, open_video
from avssl.runtime.progress import Tally
from avssl.sync.network import Synchroniser
from avssl.sync.offset import curve, load_synchroniser, offset_from, offset_grid

SHIFTED = 0.2  # seconds from which on sound counts as out of sync


class Displaced:
    """A reader whose sound is late, or another recording's: what a recording out of sync would give.

    Args:
        picture: the recording.
        late: seconds by which the sound is made late.
        sound: where the sound comes from, ``picture`` where None.
    """

    def __init__(self, picture: VideoReader, late: float, sound: VideoReader | None = None) -> None:
        self._picture, self._late, self._sound = picture, late, sound or picture
        source, info = self._sound.info.audio, picture.info
        moved = None if source is None else type(source)(**{**vars(source), "start": source.start + late})
        self.info = type(info)(**{**vars(info), "audio": moved})

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``."""
        return self._picture.frames(times, size)

    def audio(self, start: float, stop: float, rate: int) -> AudioClip:
        """See ``VideoReader.audio``."""
        clip = self._sound.audio(start - self._late, stop - self._late, rate)
        return AudioClip(clip.samples, (clip.valid[0] + self._late, clip.valid[1] + self._late))

    def close(self) -> None:
        """The readers belong to the caller."""

    def __enter__(self) -> Displaced:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def synchrony(
    videos: Manifest,
    run: str | Path | Synchroniser,
    reach: float = 0.4,
    resolution: float = 0.02,
    seed: int = 0,
) -> dict[str, Any]:
    """How well a network knows in sync from out of sync, and finds offsets, on recordings that are in sync.

    Each recording's sound is made late by an offset drawn evenly from the grid within half the reach, and then

    - ``auc``: a pair in sync (at the true offset) against pairs at least 0.2 s from it, pooled over recordings;
    - ``accuracy``: the share of such pairs of one recording in which the one in sync is nearer, chance 0.5;
    - ``auc_other_video``: in sync against the sound of the next recording (easy negatives);
    - ``error_ms``: the estimated minus the true offset, median of its absolute value, mean, and each value;
    - ``within_a_frame`` and ``within_200_ms``: the share of recordings whose error is at most a frame (0.2 s), beside
      what an offset drawn evenly from the curve would reach.

    Args:
        videos: recordings in sync; those too short or silent are counted in ``left_out``.
        run: see `load_synchroniser`; or the network itself.
        reach: seconds, see `find_offset`.
        resolution: seconds, see `find_offset`.
        seed: of the offsets.

    Returns:
        JSON values; numbers have ``value``, ``ci95`` (bootstrap over groups of recordings) and ``chance``.

    Raises:
        FileNotFoundError: where the run has no synchroniser.
        ValueError: where no recording can be measured.
    """
    network = run if isinstance(run, Synchroniser) else load_synchroniser(run)
    rng = np.random.default_rng(seed)
    grid = offset_grid(reach, resolution)
    inner = grid[grid.abs() <= reach / 2 + 1e-9]
    drawn = inner[torch.from_numpy(rng.integers(len(inner), size=len(videos)))].tolist()
    groups = [info.group or str(info.path) for info in videos]
    rows: list[dict[str, Any]] = []
    with Tally("synchrony", len(videos)) as tally:
        for index, late in enumerate(drawn):
            row = _measure(videos[index], videos[(index + 1) % len(videos)], late, network, grid)
            tally.add("left out" if row is None else "measured")
            rows += [] if row is None else [{**row, "group": groups[index]}]
    if not rows:
        raise ValueError(f"none of {len(videos)} recordings is long enough to be measured over +-{reach} s")
    return _summary(rows, len(videos) - len(rows), seed)


def _measure(
    info: VideoInfo, other: VideoInfo, late: float, network: Synchroniser, grid: Tensor
) -> dict[str, Any] | None:
    """What `synchrony` needs of one recording; None where it is too short."""
    with open_video(info.path, info=info) as reader, open_video(other.path, info=other) as stranger:
        try:
            found = offset_from(curve(Displaced(reader, late), network, grid))
            easy = curve(Displaced(reader, 0.0, stranger), network, torch.zeros(1, dtype=torch.float64))
        except ValueError:
            return None
    away = (found.curve.offsets - late).abs()  # seconds from in sync
    if away.min() > 1e-6 or not (away >= SHIFTED).any():
        return None
    return {
        "error": found.seconds - late,
        "confidence": found.confidence,
        "in_sync": -found.curve.distances[away.argmin()].item(),
        "shifted": (-found.curve.distances[away >= SHIFTED - 1e-6]).tolist(),
        "other": -easy.distances[0].item(),
        "chance_frame": (away <= 1 / info.fps + 1e-6).double().mean().item(),
        "chance_200": (away <= SHIFTED + 1e-6).double().mean().item(),
        "frame": 1 / info.fps,
    }


def auc(positive: NDArray[np.float64], negative: Sequence[Sequence[float]]) -> float:
    """The probability that a positive scores higher than a negative, ties counted half.

    Args:
        positive: ``[V]`` scores.
        negative: for each of V recordings some scores.
    """
    others = np.concatenate([np.asarray(values, dtype=np.float64) for values in negative])
    truth = np.repeat([1, 0], [len(positive), len(others)])
    return float(roc_auc_score(truth, np.concatenate([positive, others])))


def _summary(rows: list[dict[str, Any]], left_out: int, seed: int) -> dict[str, Any]:
    groups = [row["group"] for row in rows]
    error = np.array([row["error"] for row in rows])
    in_sync = np.array([row["in_sync"] for row in rows])
    shifted, other = [row["shifted"] for row in rows], [[row["other"]] for row in rows]

    def share(values: NDArray[np.float64], chance: float) -> dict[str, Any]:
        low_high = bootstrap(values[None], groups, seed)
        return {"value": float(values.mean()), "ci95": low_high, "chance": chance}

    def area(negative: list[list[float]]) -> dict[str, Any]:
        return {"value": auc(in_sync, negative), "ci95": _auc_interval(in_sync, negative, groups, seed), "chance": 0.5}

    nearer = np.array([auc(value[None], [values]) for value, values in zip(in_sync, shifted, strict=True)])
    frame = np.array([row["frame"] for row in rows])
    return {
        "videos": len(rows),
        "left_out": left_out,
        "auc": area(shifted),
        "accuracy": share(nearer, 0.5),
        "auc_other_video": area(other),
        "within_a_frame": share(
            (np.abs(error) <= frame + 1e-6).astype(float), float(np.mean([row["chance_frame"] for row in rows]))
        ),
        "within_200_ms": share(
            (np.abs(error) <= SHIFTED + 1e-6).astype(float), float(np.mean([row["chance_200"] for row in rows]))
        ),
        "error_ms": {
            "median_absolute": float(1000 * np.median(np.abs(error))),
            "mean": float(1000 * error.mean()),
            "each": (1000 * error).round(3).tolist(),
        },
        "confidence": {"median": float(np.median([row["confidence"] for row in rows]))},
    }


def _auc_interval(
    positive: NDArray[np.float64], negative: Sequence[Sequence[float]], groups: Sequence[str], seed: int
) -> tuple[float, float]:
    """95 % interval of the AUC under resampling of whole groups."""
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(unit == number) for number in range(unit.max() + 1)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(500):
        chosen = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
        values.append(auc(positive[chosen], [negative[place] for place in chosen]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
