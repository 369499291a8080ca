"""An export gives back the same encoder, or says what is wrong."""

import json
import os
import sys
from pathlib import Path

import forked
import pytest
import torch
from safetensors.torch import load_file, save_file

from avssl.encoders import R3D, ResNet, load_encoder, read_card, save_encoder, weights_hash

CARD = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "size": [32, 32], "method": "test"}
ROOT = Path(__file__).parents[2]


def test_round_trip_gives_equal_outputs(tmp_path):
    torch.manual_seed(0)
    encoder = R3D(width=8)
    encoder(torch.randn(4, 8, 3, 32, 32))  # moves the running statistics
    save_encoder(encoder, tmp_path / "run" / "encoder", CARD)
    clips = torch.randn(2, 8, 3, 32, 32)
    expected = encoder.eval()(clips)
    for path in (tmp_path / "run", tmp_path / "run" / "encoder", tmp_path / "run" / "encoder" / "encoder.safetensors"):
        loaded = load_encoder(path)
        assert not loaded.training
        assert loaded.card["method"] == "test"
        assert torch.equal(loaded(clips), expected)
        assert weights_hash(loaded) == weights_hash(encoder) == read_card(path)["weights_hash"]


def test_the_json_card_is_complete_and_nothing_partial_remains(tmp_path):
    save_encoder(ResNet(width=8), tmp_path, CARD)
    save_encoder(ResNet(width=8), tmp_path, CARD)
    card = json.loads((tmp_path / "encoder.json").read_text())
    assert card == read_card(tmp_path)
    assert card["class"] == "avssl.encoders.video.ResNet"
    assert card["config"] == {"depth": 18, "width": 8}
    assert card["num_features"] == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.json", "encoder.safetensors"]


def test_an_interrupted_export_leaves_the_old_one(tmp_path, monkeypatch):
    first = ResNet(width=8)
    save_encoder(first, tmp_path, CARD)

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_encoder(ResNet(width=8), tmp_path, CARD)
    assert weights_hash(load_encoder(tmp_path)) == weights_hash(first)


def test_missing_export_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"encoder/encoder\.safetensors"):
        load_encoder(tmp_path)


def test_damaged_or_foreign_files_are_refused(tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"\x80\x04 not safetensors")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_encoder(tmp_path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no card"):
        load_encoder(tmp_path)
    save_file({"weight": torch.zeros(1)}, path, {"card": json.dumps({"class": "collections.OrderedDict"})})
    with pytest.raises(ValueError, match=r"not an avssl\.encoders\.Encoder"):
        load_encoder(tmp_path)
    save_file({"weight": torch.zeros(1)}, path, {"card": json.dumps({"class": "no_such_module.Net"})})
    with pytest.raises(ValueError, match="can't be imported"):
        load_encoder(tmp_path)


def test_mismatch_is_listed_key_by_key(tmp_path):
    path = save_encoder(ResNet(width=8), tmp_path, CARD)
    card, tensors = read_card(path), load_file(path)
    tensors["extra"] = torch.zeros(3)
    tensors["net.bn1.weight"] = torch.zeros(5)
    del tensors["net.conv1.weight"]
    save_file(tensors, path, {"card": json.dumps(card)})
    with pytest.raises(ValueError, match="do not fit") as caught:
        load_encoder(tmp_path)
    message = str(caught.value)
    assert "missing     net.conv1.weight [8, 3, 7, 7]" in message
    assert "unexpected  extra [3]" in message
    assert "net.bn1.weight: the class has [8], the file [5]" in message


def test_the_card_must_say_how_pixels_were_normalised(tmp_path):
    with pytest.raises(ValueError, match=r"needs mean, std and size.*'std'"):
        save_encoder(ResNet(width=8), tmp_path, {"mean": [0, 0, 0], "size": [8, 8]})
    with pytest.raises(ValueError, match="plain JSON"):
        save_encoder(ResNet(width=8), tmp_path, CARD | {"path": Path("x")})


def test_hash_depends_on_weights_and_config():
    torch.manual_seed(0)
    first = ResNet(width=8)
    torch.manual_seed(0)
    assert weights_hash(first) == weights_hash(ResNet(width=8))
    with torch.no_grad():
        first.net.conv1.weight[0, 0, 0, 0] += 1
    assert weights_hash(first) != weights_hash(ResNet(width=8))


def test_export_tool_writes_a_folder_of_its_own(tmp_path):
    encoder = ResNet(width=8)
    save_encoder(encoder, tmp_path / "run" / "encoder", CARD)
    command = [sys.executable, str(ROOT / "tools" / "export.py"), "run", "-o", "out"]
    forked.run(command, cwd=tmp_path, check=True)
    assert weights_hash(load_encoder(tmp_path / "out")) == weights_hash(encoder)
    assert (tmp_path / "out" / "README.md").is_file()
