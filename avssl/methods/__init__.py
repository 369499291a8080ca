"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import (
    VCOP,
    DepthOrder,
    EdgesFromMotion,
    EgoMotion,
    FlowPrediction,
    MovingObjects,
    ShuffleLearn,
    SimCLR,
    SlowFeatures,
    TrackByColour,
)

__all__ = [
    "VCOP",
    "DepthOrder",
    "EdgesFromMotion",
    "EgoMotion",
    "FlowPrediction",
    "Method",
    "MovingObjects",
    "ShuffleLearn",
    "SimCLR",
    "SlowFeatures",
    "TrackByColour",
]
