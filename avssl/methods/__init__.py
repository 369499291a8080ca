"""Pretext tasks, one file a paper."""

from avssl.methods.base import Method
from avssl.methods.temporal import BYOL, TCN, VCOP, VJEPA, MoCo, ShuffleLearn, SimCLR, VideoMAE

__all__ = ["BYOL", "TCN", "VCOP", "VJEPA", "Method", "MoCo", "ShuffleLearn", "SimCLR", "VideoMAE"]
