"""How unlike the recordings that a network learnt from others are: a confidence means nothing where all is new.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> known = Familiar.fit(rng.normal(size=(60, 8)), [str(n // 2) for n in range(60)])
>>> known.compare(rng.normal(size=(40, 8))).unlike, known.compare(3 + rng.normal(size=(40, 8))).unlike
(False, True)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from avssl.media import VideoReader
from avssl.media.regions import Region, noted_region
from avssl.runtime.files import write_text
from avssl.sync.network import Synchroniser, TwoStream
from avssl.sync.offset import region_for, seen_of, sound_span

FOLDS = 5
BEYOND = 0.05  # share of known recordings that are as far from the others as what counts as far
SURE = 1e-4  # probability, by the test, below which a collection is called unlike the known ones
DIRECTIONS = 16  # most directions in which distances are measured


@dataclass(frozen=True)
class Likeness:
    """How a collection compares with the known recordings.

    Attributes:
        recordings: number of recordings.
        share: of them that lie farther from the known ones than 95 % of the known ones do from each other.
        chance: the same of known recordings that were left out, 0.05.
        unlike: whether they lie so far from the known ones as more of these would with a probability below 0.0001
            (Mann-Whitney test).
    """

    recordings: int
    share: float
    chance: float
    unlike: bool


@dataclass(frozen=True)
class Familiar:
    """The recordings that a network knows, by what it sees and hears in them.

    Attributes:
        mean: ``[D]``.
        directions: ``[K, D]``, scaled so that known recordings have variance 1 along each.
        usual: ``[N]`` ascending, distances of known recordings from those of other folds.
    """

    mean: np.ndarray
    directions: np.ndarray
    usual: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, groups: Sequence[str]) -> Familiar:
        """Describe known recordings.

        Args:
            vectors: ``[N, D]`` of `describe`.
            groups: of each recording; they are whole in the folds.

        Raises:
            ValueError: with fewer than ten groups.
        """
        names = np.unique(groups, return_inverse=True)[1]
        if names.max() + 1 < 2 * FOLDS:
            raise ValueError(f"likeness needs at least {2 * FOLDS} groups of known recordings, got {names.max() + 1}")
        usual = np.zeros(len(vectors))
        for part in range(FOLDS):
            own = names % FOLDS == part
            usual[own] = _distances(vectors[own], *_shape(vectors[~own]))
        return cls(*_shape(vectors), np.sort(usual))

    def compare(self, vectors: np.ndarray) -> Likeness:
        """Compare the recordings of a collection, ``[N, D]``, with the known ones."""
        distances = _distances(vectors, self.mean, self.directions)
        far = distances > np.quantile(self.usual, 1 - BEYOND)
        chance = float(stats.mannwhitneyu(distances, self.usual, alternative="greater").pvalue)
        return Likeness(len(far), float(far.mean()), BEYOND, chance < SURE)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps({name: value.tolist() for name, value in asdict(self).items()}) + "\n")

    @classmethod
    def load(cls, path: Path) -> Familiar:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is something else.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(*(np.array(values[name], float) for name in ("mean", "directions", "usual")))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: this describes no known recordings ({error})") from error


@torch.inference_mode()
def describe(reader: VideoReader, network: TwoStream, region: Region | None = None) -> Tensor:
    """Return ``[D]`` float32, what a network's streams see and hear on average, before their heads.

    Args:
        reader: the recording.
        network: in eval mode, with an export's card.
        region: see `avssl.sync.offset.curve`.

    Raises:
        MediaError: if it can't be read, or has no sound.
        ValueError: if it is shorter than a window, or its pictures don't show what the network learnt from.
    """
    info = reader.info
    begin, end = sound_span(info)
    begin, end = max(begin, 0.0), min(end, info.duration)
    if end - begin < network.num_frames * network.step:
        raise ValueError(f"{info.path}: {end - begin:.2f} s of picture and sound are shorter than a window")
    part = region_for(network, noted_region(info.path.parent)) if region is None else region
    times = torch.arange(begin, end - network.step / 2, network.step, dtype=torch.float64)
    clips = seen_of(reader, network, times, part)[None]  # [1, T, 3, H, W]
    samples = reader.audio(begin, end, network.rate).samples[None]
    seen = network.encoder.maps(clips).float().mean((2, 3, 4))
    return torch.cat([seen, network.audio_encoder.maps(samples).float().mean(2)], 1)[0]


def two_streams(network: Synchroniser) -> TwoStream:
    """Return a network that has a stream for pictures and one for sound.

    Raises:
        ValueError: if it has not.
    """
    if not isinstance(network, TwoStream):
        raise ValueError(f"{type(network).__name__} has no stream for sound alone: its recordings can't be compared")
    return network


def _shape(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = vectors.mean(axis=0)
    _, spread, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    kept = min(DIRECTIONS, len(vectors) // 4, int((spread > 1e-6 * spread[0]).sum()))
    return mean, directions[:kept] * (len(vectors) ** 0.5 / spread[:kept, None])


def _distances(vectors: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.linalg.norm((vectors - mean) @ directions.T, axis=1)
