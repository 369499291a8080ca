"""The card of a trained encoder tells the clips that it saw, and what training began from."""

import pytest

import avssl
from avssl.data import Augment, ClipDataset, NearbyClips
from avssl.data.samplers import RandomClips
from avssl.encoders import ResNet, load_encoder, save_encoder
from avssl.training.lineage import lineage

CARD = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": [32, 32]}


@pytest.mark.parametrize(
    ("sampler", "clip"),
    [
        (NearbyClips(num_frames=4, step=0.2), {"clips": 2, "num_frames": 4, "step": 0.2}),
        (RandomClips(clips=3, num_frames=1), {"clips": 3, "num_frames": 1, "step": None}),
    ],
)
def test_clips_are_those_of_the_sampler(world, sampler, clip):
    shown = ClipDataset(avssl.open_manifest(world), sampler, Augment(size=32))
    assert lineage(ResNet(width=8), shown) == {"clip": clip}


def test_generations_are_told(world, tmp_path):
    shown = ClipDataset(avssl.open_manifest(world), RandomClips(), Augment(size=32))
    encoder = ResNet(width=8)
    encoder.card = {**CARD, "source": {"library": "torchvision", "weights": "resnet18.pth"}}
    first = lineage(encoder, shown)
    save_encoder(encoder, tmp_path / "encoder", {**CARD, "method": "SimCLR", "run": "first", **first})
    loaded = load_encoder(tmp_path)
    second = lineage(loaded, shown)["before"]
    assert (second["method"], second["run"]) == ("SimCLR", "first")
    assert second["weights_hash"] == loaded.card["weights_hash"]
    assert second["before"] == {"source": encoder.card["source"]}
