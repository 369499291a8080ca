"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.arrow import ArrowOfTime
from avssl.methods.temporal.byol import BYOL
from avssl.methods.temporal.cpc import CPC
from avssl.methods.temporal.cubic_puzzles import CubicPuzzles
from avssl.methods.temporal.dpc import DPC
from avssl.methods.temporal.edges import EdgesFromMotion
from avssl.methods.temporal.ego_motion import EgoMotion, SlowFeatures
from avssl.methods.temporal.flow_prediction import FlowPrediction
from avssl.methods.temporal.memdpc import MemDPC
from avssl.methods.temporal.moco import MoCo
from avssl.methods.temporal.moving_objects import MovingObjects
from avssl.methods.temporal.odd_one_out import OddOneOut
from avssl.methods.temporal.opn import OPN
from avssl.methods.temporal.pace import Pace
from avssl.methods.temporal.relative_depth import DepthOrder
from avssl.methods.temporal.rotation import Rotation
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.tcn import TCN
from avssl.methods.temporal.track_by_colour import TrackByColour
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
    "DepthOrder",
    "EdgesFromMotion",
    "EgoMotion",
    "FlowPrediction",
    "MemDPC",
    "MoCo",
    "MovingObjects",
    "OddOneOut",
    "Pace",
    "Rotation",
    "ShuffleLearn",
    "SimCLR",
    "SlowFeatures",
    "TrackByColour",
    "UnsupervisedLSTM",
    "VideoMAE",
]
