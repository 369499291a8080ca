"""Pretext tasks about time: frame ordering, prediction, time-contrast, motion."""

from avssl.methods.temporal.edges import EdgesFromMotion
from avssl.methods.temporal.ego_motion import EgoMotion, SlowFeatures
from avssl.methods.temporal.flow_prediction import FlowPrediction
from avssl.methods.temporal.moving_objects import MovingObjects
from avssl.methods.temporal.relative_depth import DepthOrder
from avssl.methods.temporal.shuffle_learn import ShuffleLearn
from avssl.methods.temporal.simclr import SimCLR
from avssl.methods.temporal.track_by_colour import TrackByColour
from avssl.methods.temporal.vcop import VCOP

__all__ = [
    "VCOP",
    "DepthOrder",
    "EdgesFromMotion",
    "EgoMotion",
    "FlowPrediction",
    "MovingObjects",
    "ShuffleLearn",
    "SimCLR",
    "SlowFeatures",
    "TrackByColour",
]
