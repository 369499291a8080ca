"""What a study of affinities finds."""

from __future__ import annotations

from dataclasses import dataclass

from avssl.studies.similarity import Agreement, Numbers


@dataclass(frozen=True)
class Affinity:
    """What a study of S sources (encoders) and T targets found.

    Attributes:
        sources: their names.
        targets: their names, those of labelled sets last.
        affinity: ``[S, T]`` Taskonomy's normalised affinity; each column sums to 1.
        halves: for each target the rank correlation of its affinities by either half of the samples.
        alike: ``[S, S]`` similarities of the sources by the name of a measure.
        explained: ``[S, T]`` share of the target's variance that is predicted; of labelled sets the accuracy.
        predicts: by a sentence, how well one of these tells of another.
    """

    sources: list[str]
    targets: list[str]
    affinity: Numbers
    halves: dict[str, float | None]
    alike: dict[str, Numbers]
    explained: Numbers
    predicts: dict[str, Agreement | None]
