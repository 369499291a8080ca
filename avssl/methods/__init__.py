"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import (
    OPN,
    VCOP,
    ArrowOfTime,
    CubicPuzzles,
    OddOneOut,
    Pace,
    Rotation,
    ShuffleLearn,
    SimCLR,
)

__all__ = [
    "OPN",
    "VCOP",
    "ArrowOfTime",
    "CubicPuzzles",
    "Method",
    "OddOneOut",
    "Pace",
    "Rotation",
    "ShuffleLearn",
    "SimCLR",
]
