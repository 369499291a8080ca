"""Pretext tasks that need sound and picture."""

from avssl.methods.audiovisual.avid import AVID
from avssl.methods.audiovisual.avts import AVTS
from avssl.methods.audiovisual.owens_efros import OwensEfros
from avssl.methods.audiovisual.sparse_sync import SparseSync
from avssl.methods.audiovisual.syncnet import SyncNet
from avssl.methods.audiovisual.xdc import XDC

__all__ = ["AVID", "AVTS", "XDC", "OwensEfros", "SparseSync", "SyncNet"]
