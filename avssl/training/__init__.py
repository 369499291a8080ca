"""Training a pretext task: the only room that knows Lightning."""

from avssl.training.config import run
from avssl.training.muon import Muon
from avssl.training.run import pretrain

__all__ = ["Muon", "pretrain", "run"]
