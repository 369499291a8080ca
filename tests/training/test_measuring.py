"""How many held-out videos are measured, and which."""

import json

import pytest
import torch
from two_processes import Tiny

from avssl.data.samplers import NearbyClips
from avssl.data.transforms import Augment
from avssl.evaluation.collapse import sample, uniformity
from avssl.methods import SimCLR
from avssl.training import Data, measuring, pretrain
from avssl.training.measuring import affordable, affordable_at_end

KINETICS = 36_000  # held out of 240,000


def test_a_large_collection_is_measured_in_two_per_cent_of_the_run_and_a_small_one_whole():
    for batch in (32, 256, 2048):
        between = 200 * batch
        assert 128 <= affordable(KINETICS, between, 0.02) <= 0.02 * between
        whole_run = 500_000 * batch
        assert 8 * affordable_at_end(KINETICS, whole_run, 0.02, 8) <= 0.02 * whole_run
    assert affordable(256, 10, 0.02) == 256
    assert affordable_at_end(1024, 10, 0.02, 8) == 1024
    assert affordable_at_end(KINETICS, 10, 0.02, 8) == 1024


def test_uniformity_of_many_features_is_that_of_a_sample():
    features = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    chosen = sample(400, 300)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(uniformity(features, rows=300), uniformity(features[chosen]))
    assert uniformity(features, rows=300).item() == pytest.approx(uniformity(features).item(), abs=0.02)


def test_a_run_says_over_how_many_videos_it_measured(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "LEAST_AT_END", 2)
    torch.manual_seed(0)
    method = SimCLR(Tiny(), NearbyClips(num_frames=2, step=0.1), hidden=8, out=8)
    data = Data(Augment(16), str(world), batch_size=8, workers=0, rounds=2)
    options = {"measure_every": 1, "measure_videos": 3, "measure_share": 0.0, "runs": str(tmp_path)}
    trainer = {"max_steps": 2, "accelerator": "cpu", "precision": "32-true"}
    pretrain("short", method, data, torch.optim.AdamW, trainer, **options)
    said = capsys.readouterr().out
    assert "3 of 4 held-out videos are measured every 1 steps" in said
    assert "measured over 2 of 4 held-out videos" in said
    result = json.loads((tmp_path / "short/held_out.json").read_text())
    assert (result["videos"], result["of"]) == (2, 4)
    assert result["metrics"]["accuracy"]["mean"] * 4 % 1 == 0  # two videos in two rounds
