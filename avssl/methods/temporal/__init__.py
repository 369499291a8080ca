"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.byol import BYOL
from avssl.methods.temporal.moco import MoCo
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.tcn import TCN
from avssl.methods.temporal.vcop import VCOP
from avssl.methods.temporal.videomae import VideoMAE
from avssl.methods.temporal.vjepa import VJEPA

__all__ = ["BYOL", "TCN", "VCOP", "VJEPA", "MoCo", "ShuffleLearn", "SimCLR", "VideoMAE"]
