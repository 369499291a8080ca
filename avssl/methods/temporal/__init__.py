"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.flow_prediction import FlowPrediction
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.vcop import VCOP

__all__ = ["VCOP", "FlowPrediction", "ShuffleLearn", "SimCLR"]
