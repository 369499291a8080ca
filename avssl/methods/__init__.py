"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import (
    CPC,
    DPC,
    OPN,
    VCOP,
    ArrowOfTime,
    CubicPuzzles,
    MemDPC,
    OddOneOut,
    Pace,
    Rotation,
    ShuffleLearn,
    SimCLR,
    UnsupervisedLSTM,
)

__all__ = [
    "CPC",
    "DPC",
    "OPN",
    "VCOP",
    "ArrowOfTime",
    "CubicPuzzles",
    "MemDPC",
    "Method",
    "OddOneOut",
    "Pace",
    "Rotation",
    "ShuffleLearn",
    "SimCLR",
    "UnsupervisedLSTM",
]
