"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.cpc import CPC
from avssl.methods.temporal.dpc import DPC
from avssl.methods.temporal.memdpc import MemDPC
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.unsupervised_lstm import UnsupervisedLSTM
from avssl.methods.temporal.vcop import VCOP

__all__ = ["CPC", "DPC", "VCOP", "MemDPC", "ShuffleLearn", "SimCLR", "UnsupervisedLSTM"]
