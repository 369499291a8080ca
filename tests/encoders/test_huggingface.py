"""Encoders from folders in the Hugging Face format give what transformers itself gives, for some of the tokens too."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from avssl.encoders import HuggingFace, for_inference, load_encoder, save_encoder, weights_hash
from avssl.encoders.layers import layer_maps

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
CONFIGS = {
    "videomae": {
        **SMALL,
        **{"image_size": 16, "patch_size": 4, "num_frames": 4, "tubelet_size": 2, "use_mean_pooling": False},
        **{"decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2},
        **{"decoder_intermediate_size": 64, "norm_pix_loss": True},
    },
    "vjepa2": {
        **{"hidden_size": 28, "num_hidden_layers": 2, "num_attention_heads": 2, "crop_size": 16, "patch_size": 4},
        **{"frames_per_clip": 4, "pred_hidden_size": 28, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 2},
        **{"pred_num_mask_tokens": 3, "num_pooler_layers": 1},
    },
    "vivit": {**SMALL, "image_size": 16, "num_frames": 4, "tubelet_size": [2, 4, 4]},
    "timesformer": {**SMALL, "image_size": 16, "patch_size": 4, "num_frames": 4},
}
MODELS = {  # of whole checkpoints, with the heads that an encoder leaves out
    "videomae": "VideoMAEForPreTraining",
    "vjepa2": "VJEPA2ForVideoClassification",
    "vivit": "VivitForVideoClassification",
    "timesformer": "TimesformerForVideoClassification",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random networks, by kind; no weight is zero, so that none can be forgotten."""
    folders = {}
    for kind, settings in CONFIGS.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        model = getattr(transformers, MODELS[kind])(transformers.AutoConfig.for_model(kind, **settings))
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.1)
        model.save_pretrained(folders[kind])
        settings = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.1], "offset": False}
        (folders[kind] / "preprocessor_config.json").write_text(json.dumps(settings))
    return folders


def reference(kind: str, folder: Path) -> torch.nn.Module:
    return getattr(transformers, MODELS[kind]).from_pretrained(folder).eval()


def clips() -> Tensor:
    return torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_maps_are_the_last_hidden_state(saved: dict[str, Path], kind: str, tmp_path: Path) -> None:
    encoder = HuggingFace(str(saved[kind])).eval()
    model = reference(kind, saved[kind])
    base = model.base_model
    if kind == "vjepa2":
        expected = base(clips(), skip_predictor=True).last_hidden_state
    else:
        expected = base(clips()).last_hidden_state[:, kind != "videomae" :]  # without the class token
    if kind == "timesformer":  # its tokens are ordered by place first
        expected = expected.unflatten(1, (16, 4)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(tokens(encoder.maps(clips())), expected, atol=1e-5, rtol=1e-5)
    first, last = layer_maps(encoder, clips(), [0, 1])
    torch.testing.assert_close(last, encoder.maps(clips()))
    assert first.shape == last.shape
    card = encoder.card
    assert (card["mean"], card["std"], card["size"]) == ([0.5, 0.4, 0.3], [0.3, 0.2, 0.1], [16, 16])
    base.load_state_dict(encoder.original_state_dict(), strict=kind != "vjepa2")

    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(for_inference(encoder, half=True)(clips()), encoder(clips()), atol=1e-6, rtol=0)

    loaded = load_encoder(save_encoder(encoder, tmp_path, encoder.card))  # without the folder that it came from
    assert torch.equal(loaded.maps(clips()), encoder.maps(clips()))
    assert weights_hash(loaded) == weights_hash(encoder) == weights_hash(copy.deepcopy(loaded))
    assert loaded.card["mean"] == encoder.card["mean"]
    assert str(saved[kind]) not in json.dumps(loaded.card)


@pytest.mark.parametrize("kind", ["videomae", "vjepa2", "vivit"])
def test_tokens_in_any_order_and_number(saved: dict[str, Path], kind: str) -> None:
    encoder, model = HuggingFace(str(saved[kind])).eval(), reference(kind, saved[kind])
    shown = torch.stack([torch.randperm(32)[:12] for _ in range(2)]).sort(1).values  # [B, V], others per clip
    patches, positions = encoder.patches(clips()), encoder.positions(clips())
    visible = patches.take_along_dim(shown[..., None], 1)
    found = encoder.encode(visible, positions[shown])
    if kind == "videomae":
        hidden = torch.ones(2, 32, dtype=torch.bool).scatter(1, shown, False)
        expected = model.base_model(clips(), bool_masked_pos=hidden).last_hidden_state
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if kind == "vjepa2":  # transformers masks after the encoder; its layers take tokens and their places
        x = model.base_model.encoder.embeddings(clips()).take_along_dim(shown[..., None], 1)
        for layer in model.base_model.encoder.layer:
            x = layer(x, shown)[0]
        torch.testing.assert_close(found, model.base_model.encoder.layernorm(x), atol=1e-5, rtol=1e-5)
    other = torch.randperm(12)
    turned = encoder.encode(visible[:, other], positions[shown[:, other]])
    torch.testing.assert_close(turned, found[:, other], atol=1e-5, rtol=1e-5)
    found.sum().backward()
    assert all(weights.grad is not None for weights in encoder.parameters())


@pytest.mark.parametrize("kind", ["videomae", "vjepa2", "vivit"])
@torch.no_grad()
def test_clips_of_another_size(saved: dict[str, Path], kind: str) -> None:
    encoder = HuggingFace(str(saved[kind])).eval()
    assert encoder.maps(torch.randn(1, 6, 3, 20, 24)).shape == (1, encoder.num_features, 3, 5, 6)
    same = encoder.positions(clips())
    assert same.unique(dim=0).shape == same.shape


def test_timesformer_takes_only_the_clips_it_knows(saved: dict[str, Path]) -> None:
    encoder = HuggingFace(str(saved["timesformer"]))
    with pytest.raises(ValueError, match=r"timesformer takes clips of \(4, 16, 16\)"):
        encoder.maps(torch.randn(1, 6, 3, 16, 16))
    with pytest.raises(ValueError, match="can't be given tokens alone"):
        encoder.encode(torch.randn(1, 3, 48), torch.zeros(3))


def test_a_file_that_does_not_fit_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    weights = load_file(saved["videomae"] / "model.safetensors")
    del weights["videomae.encoder.layer.1.attention.attention.v_bias"]  # would silently be zero
    weights["videomae.surplus"] = torch.zeros(2)
    weights["videomae.embeddings.patch_embeddings.projection.bias"] = torch.zeros(3)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((saved["videomae"] / "config.json").read_text())
    with pytest.raises(ValueError, match=r"missing +encoder.layer.1.attention.attention.value.bias") as told:
        HuggingFace(str(tmp_path))
    assert "unexpected  videomae.surplus" in str(told.value)
    assert "projection.bias: the class has [24], the file [3]" in str(told.value)


def test_hub_names_need_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str], saved: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError, match="say online: true"):
        HuggingFace("MCG-NJU/videomae-base")
    with pytest.raises(ValueError, match="give path"):
        HuggingFace()
    with pytest.raises(ValueError, match=r"no model_type .* only hidden_size, num_hidden_layers"):
        HuggingFace(config={"hidden_size": 24, "num_hidden_layers": 1})
    with pytest.raises(ValueError, match=r"config of videomae: .*image_size"):
        HuggingFace(config={"model_type": "videomae", "image_size": "small"})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="'bert' is not among the video networks videomae"):
        HuggingFace(str(tmp_path))


def test_pixel_statistics_of_preprocessors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from avssl.encoders.huggingface_files import pixel_statistics

    assert pixel_statistics(str(tmp_path), online=False)["mean"] == [0.485, 0.456, 0.406]
    assert "ImageNet's statistics" in capsys.readouterr().err
    pixels = torch.rand(3)
    for offset in (1, 0):  # as ViViT's processor does it
        settings = {"rescale_factor": 1 / 127.5, "offset": bool(offset), "image_mean": [0.5] * 3}
        settings["image_std"] = [0.225] * 3
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
        found = pixel_statistics(str(tmp_path), online=False)
        ours = (pixels - torch.tensor(found["mean"])) / torch.tensor(found["std"])
        torch.testing.assert_close(ours, (255 * pixels / 127.5 - offset - 0.5) / 0.225)
