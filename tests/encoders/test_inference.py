import pytest
import torch
from torch import nn

from avssl.encoders import MC3, R3D, RMC, S3D, R2Plus1D, ResNet, ViT
from avssl.encoders.inference import MaxPool, for_inference


@pytest.mark.parametrize(
    "make", [R3D, R2Plus1D, MC3, RMC, S3D, lambda width: ResNet(18, width), lambda w: ResNet(50, w)]
)
def test_the_quick_copy_gives_the_same_features_without_batch_normalisation(make):
    torch.manual_seed(0)
    encoder = make(8)
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        for _ in range(3):
            encoder(3 * torch.randn_like(clips) + 1)  # statistics that are not those of a new network
        quick = for_inference(encoder)
        expected = encoder.eval()(clips)
        torch.testing.assert_close(quick(clips), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    left, before = (
        sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in network.modules())
        for network in (quick, encoder)
    )
    assert left <= (before // 2 if isinstance(encoder, R2Plus1D) else 0)  # there, half of them follow a block


@pytest.mark.parametrize("make", [R3D, S3D, lambda width: ResNet(18, width), lambda w: ViT(4 * w, depth=1, patch=8)])
def test_weights_held_in_bfloat16_change_nothing_under_autocast(make):
    torch.manual_seed(0)
    encoder = make(8)
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = for_inference(encoder)(clips)
        torch.testing.assert_close(for_inference(encoder, half=True)(clips), expected, rtol=0, atol=0)


@pytest.mark.parametrize("size", [(2, 2), (1, 5), (16, 7), (9, 12)])
def test_the_quick_max_pooling_is_torchs(size):
    maps = torch.randn(3, 8, *size).contiguous(memory_format=torch.channels_last)
    assert torch.equal(MaxPool()(maps), nn.MaxPool2d(3, stride=2, padding=1)(maps))
    assert any(isinstance(module, MaxPool) for module in for_inference(ResNet(18, 8)).modules())
