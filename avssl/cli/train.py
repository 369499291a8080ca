"""``avssl train``."""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads leave the cores to the readers

from avssl.training.config import parser as parser
from avssl.training.config import train


def run(words: Sequence[str]) -> None:
    """Pretrain."""
    train(words)
