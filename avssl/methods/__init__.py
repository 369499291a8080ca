"""Pretext tasks, one file a paper."""

from avssl.methods.audiovisual import AVID, AVTS, XDC, OwensEfros, SparseSync, SyncNet
from avssl.methods.base import Method
from avssl.methods.temporal import VCOP, ShuffleLearn, SimCLR

__all__ = [
    "AVID",
    "AVTS",
    "VCOP",
    "XDC",
    "Method",
    "OwensEfros",
    "ShuffleLearn",
    "SimCLR",
    "SparseSync",
    "SyncNet",
]
