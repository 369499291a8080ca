"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import VCOP, FlowPrediction, ShuffleLearn, SimCLR

__all__ = ["VCOP", "FlowPrediction", "Method", "ShuffleLearn", "SimCLR"]
