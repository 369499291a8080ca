"""Networks of papers have the parameters that their authors' have (without classifiers), and work as encoders."""

import pytest
import torch

from avssl.encoders import (
    C2DR50,
    C3D,
    I3DR50,
    MC3,
    R3D,
    R3D50,
    S3D,
    Critic,
    FrameStack,
    R2Plus1D,
    R2Plus1D10,
    ResNet,
    ResNet2D3D,
    SlowR50,
    Torchvision,
    ViT,
    for_inference,
    load_encoder,
    save_encoder,
)

VIDEOMAE = {"positions": "sequence", "key_bias": False}
LEVJEPA = {"tubelet": 1, "positions": "rotary", "class_token": True, "causal": True}
G = {"width": 1408, "depth": 40, "mlp": 6144}
COUNTS = [
    (SlowR50, {}, 31_634_496, (2048, 8, 7, 7)),
    (I3DR50, {}, 27_223_872, (2048, 4, 7, 7)),
    (C2DR50, {}, 23_508_032, (2048, 4, 7, 7)),
    (R3D50, {}, 31_672_128, (2048, 4, 7, 7)),
    (C3D, {}, 27_661_440, (512, 1, 14, 14)),
    (C3D, {"normalised": False}, 27_655_936, (512, 1, 14, 14)),
    (S3D, {}, 7_910_048, (1024, 1, 7, 7)),
    (S3D, {"gated": True}, 9_098_000, (1024, 1, 7, 7)),
    (R3D, {}, 33_166_272, (512, 1, 14, 14)),
    (R3D, {"depth": 34}, 63_475_904, (512, 1, 14, 14)),
    (R3D, {"depth": 10}, 14_361_792, (512, 1, 14, 14)),
    (MC3, {}, 11_490_240, (512, 8, 14, 14)),
    (R2Plus1D, {}, 31_300_125, (512, 1, 14, 14)),
    (R2Plus1D10, {}, 14_365_303, (512, 1, 14, 14)),
    (ResNet2D3D, {"depth": 18}, 14_057_536, (256, 2, 7, 7)),
    (ResNet2D3D, {"depth": 34}, 32_422_208, (256, 2, 7, 7)),
    (ResNet, {"depth": 50}, 23_508_032, (2048, 8, 7, 7)),
    (ViT, {"width": 384, "depth": 12, **VIDEOMAE}, 21_879_936, (384, 4, 14, 14)),
    (ViT, {"width": 768, "depth": 12, **VIDEOMAE}, 86_227_200, (768, 4, 14, 14)),
    (ViT, {"width": 1024, "depth": 24, **VIDEOMAE}, 303_860_736, (1024, 4, 14, 14)),
    (ViT, {"width": 1280, "depth": 32, "heads": 16, **VIDEOMAE}, 631_607_040, (1280, 4, 14, 14)),
    (ViT, {**G, "patch": 14, "heads": 16, **VIDEOMAE}, 1_011_610_752, (1408, 4, 16, 16)),
    (ViT, {"width": 1024, "depth": 24, "positions": "rotary"}, 303_885_312, (1024, 4, 14, 14)),
    (ViT, {"width": 1280, "depth": 32, "heads": 16, "positions": "rotary"}, 631_648_000, (1280, 4, 14, 14)),
    (ViT, {**G, "heads": 22, "positions": "rotary"}, 1_012_173_952, (1408, 4, 14, 14)),
    (ViT, {"width": 768, "depth": 12, **LEVJEPA}, 85_647_360, (768, 8, 14, 14)),
    (ViT, {"width": 1024, "depth": 24, **LEVJEPA}, 303_099_904, (1024, 8, 14, 14)),
    (ViT, {"width": 768, "depth": 12, "positions": "learnt"}, 87_440_640, (768, 4, 14, 14)),
]
SMALL = [
    (SlowR50, {"width": 8}),
    (I3DR50, {"width": 8}),
    (R3D50, {"width": 8}),
    (C3D, {"width": 8}),
    (S3D, {"width": 8, "gated": True}),
    (R3D, {"width": 8, "depth": 10}),
    (R2Plus1D10, {"width": 8}),
    (ResNet2D3D, {"width": 8}),
    (FrameStack, {"width": 8}),
    (Critic, {"width": 8}),
]


@pytest.mark.parametrize(("network", "options", "parameters", "maps"), COUNTS)
def test_parameters_and_maps_of_papers(network, options, parameters, maps):
    with torch.device("meta"):
        encoder = network(**options)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
    if parameters > 100e6:  # hundreds of equal blocks: tests/test_paper.py runs such networks
        return
    with torch.device("meta"), torch.inference_mode():
        assert encoder.maps(torch.empty(1, 8, 3, 224, 224)).shape == (1, *maps)


@pytest.mark.parametrize(
    ("name", "published", "features"),
    [
        ("mvit_v1_b", 36_610_672, 768),
        ("mvit_v2_s", 34_537_744, 768),
        ("swin3d_t", 28_158_070, 768),
        ("swin3d_s", 49_816_678, 768),
        ("swin3d_b", 88_048_984, 1024),
    ],
)
def test_parameters_of_torchvisions_transformers(name, published, features):
    with torch.device("meta"):
        encoder = Torchvision(name)
    head = (features + 1) * 400
    assert sum(parameter.numel() for parameter in encoder.parameters()) == published - head
    with torch.device("meta"), torch.inference_mode():
        assert encoder.maps(torch.empty(1, 16, 3, 224, 224)).shape == (1, features, 8, 7, 7)


@pytest.mark.parametrize(("network", "options"), SMALL)
def test_a_small_one_trains_takes_its_least_clip_and_is_exported(network, options, tmp_path):
    torch.manual_seed(0)
    encoder = network(**options)
    features = encoder(torch.randn(2, 8, 3, 32, 32))
    assert features.shape == (2, encoder.num_features)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    encoder.eval()
    frames, height, width = encoder.min_clip
    clips = torch.randn(2, frames, 3, height, width)
    with torch.inference_mode():
        expected = encoder(clips)
        assert expected.isfinite().all()
        torch.testing.assert_close(for_inference(encoder)(clips), expected, rtol=1e-3, atol=1e-4)
        save_encoder(encoder, tmp_path, {"mean": [0.4] * 3, "std": [0.2] * 3, "size": [32, 32]})
        assert torch.equal(load_encoder(tmp_path)(clips), expected)


@torch.no_grad()
def test_open_gates_change_nothing_and_others_scale_each_channel_by_the_whole_clip():
    torch.manual_seed(0)
    plain, gated = S3D(8).eval(), S3D(8, gated=True).eval()
    gates = {name: tensor for name, tensor in gated.state_dict().items() if name not in plain.state_dict()}
    assert len(gates) == 2 * 4 * 9
    gated.load_state_dict(plain.state_dict() | {name: torch.zeros_like(gate) for name, gate in gates.items()})
    clips = torch.randn(1, *S3D.min_clip[:1], 3, *S3D.min_clip[1:])
    expected = plain.maps(clips)
    assert not torch.allclose(gated.maps(clips), expected, rtol=0.1)
    for name, parameter in gated.named_parameters():
        if name in gates and name.endswith("bias"):
            parameter.fill_(50.0)
    torch.testing.assert_close(gated.maps(clips), expected)
    with pytest.raises(ValueError, match=r"gated=True.*not torchvision's"), torch.device("meta"):
        S3D(gated=True).torchvision_state_dict()


def test_predicted_maps_may_be_negative():
    torch.manual_seed(0)
    maps = ResNet2D3D(width=8)(torch.randn(2, 5, 3, 32, 32))
    assert (maps < 0).any()
    assert (maps > 0).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlowR50(12), "SlowR50: width must be a positive multiple of 8, got 12"),
        (lambda: C3D(0), "C3D: width must be a positive multiple of 8, got 0"),
        (lambda: ResNet2D3D(50), "depth must be 18 or 34, got 50"),
        (lambda: R3D(depth=50), r"R3D: depth must be one of \[10, 18, 34\], got 50"),
    ],
)
def test_networks_that_are_not_there_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
