"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.arrow import ArrowOfTime
from avssl.methods.temporal.byol import BYOL
from avssl.methods.temporal.cpc import CPC
from avssl.methods.temporal.cubic_puzzles import CubicPuzzles
from avssl.methods.temporal.dpc import DPC
from avssl.methods.temporal.memdpc import MemDPC
from avssl.methods.temporal.moco import MoCo
from avssl.methods.temporal.odd_one_out import OddOneOut
from avssl.methods.temporal.opn import OPN
from avssl.methods.temporal.pace import Pace
from avssl.methods.temporal.rotation import Rotation
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.tcn import TCN
from avssl.methods.temporal.unsupervised_lstm import UnsupervisedLSTM
from avssl.methods.temporal.vcop import VCOP
from avssl.methods.temporal.videomae import VideoMAE
from avssl.methods.temporal.vjepa import VJEPA

__all__ = [
    "BYOL",
    "CPC",
    "DPC",
    "OPN",
    "TCN",
    "VCOP",
    "VJEPA",
    "ArrowOfTime",
    "CubicPuzzles",
    "MemDPC",
    "MoCo",
    "OddOneOut",
    "Pace",
    "Rotation",
    "ShuffleLearn",
    "SimCLR",
    "UnsupervisedLSTM",
    "VideoMAE",
]
