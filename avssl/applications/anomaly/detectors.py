"""Detectors: what is read of clips, by whom, and how odd it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avssl.applications.anomaly.scoring import OF_FEATURES, OF_JUDGES, How, Reals, scorer
from avssl.encoders import Encoder, load_encoder
from avssl.encoders.export import load
from avssl.encoders.transformed import TransformationJudge
from avssl.evaluation.readout import Bank


@dataclass(frozen=True)
class Detector:
    """A way to score clips.

    Attributes:
        name: of features and measure.
        how: the measure.
        banks: features by class, as each may have a run of its own; of each, one bank per seed of an untrained network.
        baseline: what runs are compared with.
    """

    name: str
    how: How
    banks: Sequence[Sequence[Bank]]
    baseline: bool = False

    def scores(self, normal: Sequence[int], tested: Sequence[int], which: int = 0) -> Reals:
        """Return how odd each view of the tested videos is, ``[Q, M]``, by the normal videos; the mean over seeds.

        ``which`` is the number of the class whose banks are read.
        """
        found = []
        for bank in self.banks[which]:
            measure = scorer(self.how)
            measure.fit(clips_of(bank, normal))
            found.append(measure.scores(clips_of(bank, tested)).reshape(len(tested), -1))
        return np.mean(found, axis=0)


def clips_of(bank: Bank, rows: Sequence[int]) -> np.ndarray:
    """Return the features ``[R * M, D]`` of all views of some videos."""
    found = bank.features[list(rows)]
    return found.reshape(-1, found.shape[2])


def judge_of(run: Path) -> TransformationJudge | None:
    """Load the judge of a run of `avssl.methods.Transformations`; None of any other run."""
    try:
        return load(run, TransformationJudge, "judge")
    except FileNotFoundError:
        return None


def networks(run: Path) -> dict[str, tuple[Encoder, tuple[How, ...]]]:
    """Return what can be read of a run, by name, and how it can be scored: its judge first, if it has one."""
    encoder, judge = load_encoder(run), judge_of(run)
    found: dict[str, tuple[Encoder, tuple[How, ...]]] = {}
    if judge is not None:
        found["judge"] = judge, OF_JUDGES
    return found | {"encoder": (encoder, OF_FEATURES)}
