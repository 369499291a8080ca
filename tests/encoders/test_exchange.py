"""What is exported for other software is loaded by it, and computes the same."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file

from avssl.cli import main
from avssl.encoders import MC3, R3D, RMC, FrameEncoder, GreyResNet, ResNet, SplitResNet, ViT, load_encoder, save_encoder
from avssl.encoders.exchange import FORMATS, exchanges, export_as
from avssl.encoders.shapes import Shape, shape_of

CARD = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "size": [32, 32], "clip": {"num_frames": 4, "step": 0.1}}


def warmed(encoder):
    """An encoder with a card whose running statistics have moved."""
    encoder.train()(torch.randn(2, 4, 3, 32, 32))
    encoder.card = {**CARD, "method": "SimCLR", "seed": 0, "before": {"method": "pretrained elsewhere (x)"}}
    return encoder.eval()


@pytest.mark.parametrize("kind", [ResNet, MC3])
def test_torchvision_loads_everything_but_the_classifier(kind, tmp_path):
    encoder = warmed(kind())
    (path,) = export_as(encoder, "torchvision", tmp_path)
    network = torchvision.models.get_model({ResNet: "resnet18", MC3: "mc3_18"}[kind])
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    assert missing == ["fc.weight", "fc.bias"]
    assert not unexpected
    network.fc = torch.nn.Identity()
    clips = torch.randn(2, 4, 3, 32, 32)
    with torch.no_grad():
        theirs = network.eval()(clips.transpose(1, 2) if kind is MC3 else clips.flatten(0, 1))
        expected = encoder(clips) if kind is MC3 else encoder.frames(clips).flatten(0, 1)
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-5)


class Small(FrameEncoder):
    """A frame encoder of one layer, in place of a residual network, whose graph takes seconds."""

    def __init__(self, width=8):
        super().__init__(width, {"width": width})
        self.layer = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, stride=2), torch.nn.BatchNorm2d(width))

    def stages(self, clips):
        self.check_clips(clips)
        return [self.layer(clips.flatten(0, 1)).relu()]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A frame encoder and a transformer over time and space as graphs, by the command."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    for name, encoder in (("frames", Small()), ("video", ViT(width=24, depth=1, patch=8))):
        save_encoder(warmed(encoder), folder / name / "encoder", encoder.card)
    graphs = [str(folder / "frames"), "-o", str(folder / "graphs"), "--to", "onnx", "torch-export"]
    assert main(["export", *graphs]) == 0
    assert main(["export", str(folder / "video"), "-o", str(folder / "program"), "--to=torch-export", "--size=24"]) == 0
    return folder


def test_graphs_take_any_number_of_clips(exported):
    session = onnxruntime.InferenceSession(exported / "graphs" / "encoder.onnx")
    frames, video = (torch.export.load(exported / name / "encoder.pt2").module() for name in ("graphs", "program"))
    with torch.no_grad():
        for batch in (1, 3):
            clips, small = torch.randn(batch, 4, 3, 32, 32), torch.randn(batch, 4, 3, 24, 24)
            expected = load_encoder(exported / "frames")(clips)
            torch.testing.assert_close(frames(clips), expected, rtol=0, atol=1e-5)
            torch.testing.assert_close(video(small), load_encoder(exported / "video")(small), rtol=0, atol=1e-5)
            (features,) = session.run(["features"], {"clips": clips.numpy()})
            np.testing.assert_allclose(features, expected.numpy(), rtol=0, atol=1e-5)


def test_graphs_carry_the_card_and_say_what_they_take(exported):
    model = onnx.load(exported / "graphs" / "encoder.onnx")
    cards = [json.loads(entry.value) for entry in model.metadata_props if entry.key == "card"]
    told = {"card.json": ""}
    torch.export.load(exported / "graphs" / "encoder.pt2", extra_files=told)
    for card in (*cards, json.loads(told["card.json"])):
        assert card["mean"] == CARD["mean"]
        assert card["weights_hash"] == load_encoder(exported / "frames").card["weights_hash"]
    _, front, text = (exported / "graphs" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "onnx"
    assert "[B, 4, 3, 32, 32]" in text
    assert "| began from | method pretrained elsewhere (x) |" in text
    assert "[B, 4, 3, 24, 24]" in (exported / "program" / "README.md").read_text()


def test_what_a_format_cannot_hold_is_refused_with_the_formats_that_can():
    with torch.device("meta"):
        cases = {
            ("torchvision", "width 64 is torchvision's"): [GreyResNet(width=8)],
            ("torchvision", "has no such network"): [SplitResNet(width=8), RMC(), ViT(24, 1, 8)],
            ("torchvision", "other weights"): [ResNet(norm="layer")],
            ("huggingface", "positions are sine"): [ViT(24, 1, 8)],
            ("huggingface", "has no such network"): [ResNet(width=8)],
        }
    for (to, reason), encoders in cases.items():
        for encoder in encoders:
            encoder.card = dict(CARD)
            with pytest.raises(ValueError, match=rf"{reason}.*It can for avssl, .*onnx, torch-export$"):
                export_as(encoder, to, "nowhere")


def test_the_card_tells_the_clips_that_an_export_is_for():
    assert set(exchanges()) == set(FORMATS)
    encoder = R3D(width=8, differences=True)
    encoder.card = {**CARD, "clip": {"num_frames": 1}}
    assert shape_of(encoder) == Shape(2, 32, 32)
    encoder.card = {"size": [24, 32]}
    assert shape_of(encoder) == Shape(16, 24, 32)
