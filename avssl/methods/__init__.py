"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import CPC, DPC, VCOP, MemDPC, ShuffleLearn, SimCLR, UnsupervisedLSTM

__all__ = ["CPC", "DPC", "VCOP", "MemDPC", "Method", "ShuffleLearn", "SimCLR", "UnsupervisedLSTM"]
