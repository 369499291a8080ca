"""Exports and manifests of earlier versions load, and mean the same: `tests/fixtures/before`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open

from avssl.catalog.manifest import Manifest
from avssl.encoders import load_audio_encoder, load_encoder, read_card, weights_hash
from avssl.encoders.base import Exportable
from avssl.encoders.export import build
from avssl.media import AudioInfo
from avssl.sync import TwoStream, load_synchroniser

BEFORE = Path(__file__).parents[1] / "fixtures" / "before"
LOADERS = {"encoder": load_encoder, "audio_encoder": load_audio_encoder, "sync": load_synchroniser}


@pytest.mark.parametrize("name", LOADERS)
def test_an_earlier_export_has_its_weights_hash_and_outputs(name):
    network, facts = LOADERS[name](BEFORE), load_file(BEFORE / "outputs.safetensors")
    with safe_open(BEFORE / name / "encoder.safetensors", "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    found = network.state_dict()
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[key], stored[key]) for key in stored)
    assert weights_hash(network) == read_card(BEFORE / name)["weights_hash"]
    with torch.inference_mode():
        if isinstance(network, TwoStream):
            outputs = network.distances(facts["clips"], facts["sounds"], facts["which"])
        else:
            outputs = network(facts["clips" if name == "encoder" else "sounds"])
    torch.testing.assert_close(outputs, facts[name], atol=1e-6, rtol=1e-6)


class Holder(Exportable):
    def __init__(self, sync):
        super().__init__(1, {"sync": sync})
        self.sync = build(sync, TwoStream)


def test_a_plan_within_a_plan_may_use_earlier_names():
    card = read_card(BEFORE / "sync")
    holder = build({"class": f"{__name__}.Holder", "config": {"sync": card}}, Holder)
    assert holder.sync.num_frames == card["config"]["frames"] == 4


def test_an_earlier_manifest_has_its_rows_and_fingerprint():
    manifest = Manifest.open(BEFORE / "videos.parquet")
    assert manifest.fingerprint == "9dd0d25a9f92c3dd8732f8f5ba23e96fde6aac8911a8f0c0b23a2fa4640c71b9"
    assert manifest.classes == ["jump", "run"]
    jump, run = manifest
    assert jump.path == BEFORE / "videos" / "jump" / "a.mp4"
    assert (jump.duration, jump.fps, jump.size, jump.num_frames) == (2.0, 25.0, (96, 128), 50)
    assert jump.audio == AudioInfo(16000, 1, -0.02, 2.02, "aac", False)
    assert (jump.label, jump.group, jump.view, jump.backends) == (0, "1", "0", ("pyav", "decord"))
    assert torch.equal(jump.motion, torch.linspace(0, 1, 16).half().float())
    assert (run.num_frames, run.audio, run.motion, run.label, run.view) == (45, None, None, 1, None)
    assert [(item.path.name, item.reason) for item in manifest.rejected] == [("c.mp4", "empty: the file has 0 bytes")]
