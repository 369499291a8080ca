"""A trained encoder is trained further, as it was meant to be shown pixels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from avssl.data import Augment
from avssl.encoders import R3D, load_encoder, save_encoder
from avssl.methods import SimCLR
from avssl.training import Data, pretrain


def test_a_loaded_encoder_is_trained_in_training_mode_on_its_own_statistics(world: Path, tmp_path: Path) -> None:
    card = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.1], "size": [32, 32]}
    save_encoder(R3D(width=8), tmp_path / "before", card)
    encoder = load_encoder(tmp_path / "before")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    data = Data(Augment(size=32), root=str(world), batch_size=4, workers=0, rounds=1)
    trainer = {"max_steps": 2, "accelerator": "cpu"}
    pretrain("run", SimCLR(encoder, hidden=16), data, partial(torch.optim.AdamW, lr=1e-3), trainer, runs=str(tmp_path))
    after = load_encoder(tmp_path / "run")
    assert (after.card["mean"], after.card["std"]) == (card["mean"], card["std"])
    moved = [name for name, value in after.state_dict().items() if not torch.equal(value, before[name])]
    assert any(name.endswith("running_mean") for name in moved)
    assert any(name.endswith("weight") for name in moved)
