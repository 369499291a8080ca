"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import VCOP, ShuffleLearn, SimCLR

__all__ = ["VCOP", "Method", "ShuffleLearn", "SimCLR"]
