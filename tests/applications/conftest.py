from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avssl.encoders import R3D, save_encoder
from avssl.pixels import MEAN, STD


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an untrained encoder of clips."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    torch.manual_seed(0)
    save_encoder(R3D(width=8), folder / "encoder", {"mean": MEAN, "std": STD, "size": (16, 16)})
    return folder
