"""The networks are torchvision's, and the interface holds for all of them."""

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional as F
from torchvision.models import video as tv

from avssl.encoders import MC3, R3D, RMC, S3D, MotionNet, R2Plus1D, ResNet, ViT
from avssl.encoders.motion import NOISE, change

SMALL = [
    (ResNet, {"width": 8}),
    (R3D, {"width": 8}),
    (R2Plus1D, {"width": 8}),
    (MC3, {"width": 8}),
    (RMC, {"width": 8}),
    (R3D, {"width": 8, "differences": True}),
    (R2Plus1D, {"width": 8, "strides": (2, 1, 1)}),
    (S3D, {"width": 8}),
    (MotionNet, {"width": 2}),
    (ViT, {"width": 8, "depth": 2}),
    (ViT, {"width": 8, "depth": 2, "differences": True}),
]
FULL = [
    (lambda: ResNet(18), torchvision.models.resnet18, "fc"),
    (lambda: ResNet(50), torchvision.models.resnet50, "fc"),
    (R3D, tv.r3d_18, "fc"),
    (R2Plus1D, tv.r2plus1d_18, "fc"),
    (MC3, tv.mc3_18, "fc"),
    (RMC, RMC.constructor, "fc"),
    (S3D, tv.s3d, "classifier"),
]


def torchvision_maps(network, clips):
    """The last maps of torchvision's own forward, [B, D, T', H', W']."""
    kept = []
    last = network.features if hasattr(network, "features") else network.layer4
    with last.register_forward_hook(lambda module, inputs, output: kept.append(output)):
        if isinstance(network, torchvision.models.ResNet):
            network(clips.flatten(0, 1))
            return kept[0].unflatten(0, clips.shape[:2]).transpose(1, 2)
        if isinstance(network, tv.S3D):
            network.avgpool = torch.nn.Identity()  # its fixed 7 x 7 window wants 224 pixels
        network(clips.transpose(1, 2))
        return kept[0]


@pytest.mark.parametrize(("encoder_class", "config"), SMALL)
def test_shapes_and_forward_is_the_mean_of_maps(encoder_class, config):
    torch.manual_seed(0)
    encoder = encoder_class(**config).eval()
    clips = torch.randn(2, 8, 3, 48, 32)
    maps = encoder.maps(clips)
    assert maps.ndim == 5
    assert maps.shape[:2] == (2, encoder.num_features)
    assert encoder(clips).shape == (2, encoder.num_features)
    torch.testing.assert_close(encoder(clips), maps.mean(dim=(2, 3, 4)))


@pytest.mark.parametrize(("encoder_class", "config"), SMALL)
def test_features_are_float32_under_autocast_and_every_parameter_gets_a_gradient(encoder_class, config):
    encoder = encoder_class(**config)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = encoder(torch.randn(2, 8, 3, 32, 32))
    assert features.dtype == torch.float32
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


@pytest.fixture(params=FULL, scope="module")
def pair(request):
    """Our network and torchvision's, each with weights of its own, and the name of torchvision's head."""
    make, constructor, head = request.param
    torch.manual_seed(1)
    return make().eval(), constructor().eval(), head


def test_initialisation_has_torchvisions_scale(pair):
    ours, theirs, _ = pair
    named = dict(theirs.named_parameters())
    for name, parameter in ours.net.named_parameters():
        if parameter.numel() > 10_000:
            assert parameter.std().item() == pytest.approx(named[name].std().item(), rel=0.1), name


def test_weights_go_to_torchvision_and_back_and_give_the_same_outputs(pair):
    ours, theirs, head = pair
    clips = torch.randn(1, 8, 3, 64, 64)
    own = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}

    def same(one, other):  # the outputs of a new S3D are some millionths
        scale = one.abs().max().clamp(max=1)
        return torch.allclose(one / scale, other / scale, rtol=1e-3, atol=1e-3)

    with torch.inference_mode():
        first = torchvision_maps(theirs, clips)
        result = theirs.load_state_dict(ours.torchvision_state_dict(), strict=False)
        assert not result.unexpected_keys
        assert {key.split(".")[0] for key in result.missing_keys} == {head}
        second = torchvision_maps(theirs, clips)
        assert same(second, ours.maps(clips))
        ours.load_torchvision(own)
        assert same(first, ours.maps(clips))
        assert not same(first, second)


def test_frames_are_independent_and_their_mean_is_forward():
    torch.manual_seed(0)
    encoder = ResNet(depth=50, width=8).eval()
    clips = torch.randn(2, 3, 3, 32, 32)
    frames = encoder.frames(clips)
    assert frames.shape == (2, 3, encoder.num_features)
    torch.testing.assert_close(frames.mean(1), encoder(clips))
    order = [2, 0, 1]
    torch.testing.assert_close(encoder.frames(clips[:, order]), frames[:, order])
    assert encoder.maps(clips).shape[2] == 3


@pytest.mark.parametrize("encoder_class", [R3D, R2Plus1D, MC3, RMC, S3D])
def test_video_networks_see_the_order_of_frames(encoder_class):
    torch.manual_seed(0)
    encoder = encoder_class(width=8).eval()
    clips = torch.randn(1, 8, 3, 32, 32)
    assert not torch.allclose(encoder(clips), encoder(clips.flip(1)), rtol=1e-3)


def test_rmc_mixes_frames_in_all_stages_but_the_first():
    net = RMC(width=8).net
    kernels = [
        {layer.kernel_size for layer in stage.modules() if isinstance(layer, torch.nn.Conv3d)} - {(1, 1, 1)}
        for stage in (net.stem, net.layer1, net.layer2, net.layer3, net.layer4)
    ]
    assert kernels == [{(3, 7, 7)}, {(1, 3, 3)}, *[{(3, 3, 3)}] * 3]
    assert [len(stage) for stage in (net.layer1, net.layer2, net.layer3, net.layer4)] == [1, 1, 1, 1]


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"\[B, T, 3, H, W\], got \[2, 3, 8, 32, 32\]"):
        R3D(width=8)(torch.zeros(2, 3, 8, 32, 32))
    with pytest.raises(ValueError, match=r"uint8.*normalised"):
        ResNet(width=8)(torch.zeros(1, 2, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"at least \(5, 17, 17\).*got \(4, 32, 32\)"):
        S3D(width=8)(torch.zeros(1, 4, 3, 32, 32))
    with pytest.raises(ValueError, match="multiple of 8, got 12"):
        R3D(width=12)
    with pytest.raises(ValueError, match="depth must be one of"):
        ResNet(depth=34)
    with pytest.raises(ValueError, match="not torchvision's network"):
        R3D(width=8).torchvision_state_dict()


def test_s3d_accepts_its_least_clip():
    height, width = S3D.min_clip[1:]
    assert S3D(width=8).maps(torch.zeros(2, S3D.min_clip[0], 3, height, width)).numel() > 0


def test_differences_are_blind_to_what_stays():
    torch.manual_seed(0)
    encoder = R3D(8, differences=True).eval()
    clips = torch.randn(2, 8, 3, 32, 32)
    still = torch.randn(2, 1, 3, 32, 32)
    torch.testing.assert_close(encoder(clips + still), encoder(clips), rtol=1e-3, atol=1e-4)
    plain = R3D(8).eval()
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(encoder(clips), plain(clips.diff(dim=1)))
    with pytest.raises(ValueError, match=r"at least \(2, 1, 1\)"):
        encoder(clips[:, :1])


@pytest.mark.parametrize("encoder_class", [R3D, R2Plus1D, RMC])
def test_strides_keep_steps_of_time_and_nothing_else(encoder_class):
    torch.manual_seed(0)
    kept = encoder_class(width=8, differences=True, strides=(2, 1, 1)).eval()
    usual = encoder_class(width=8, differences=True).eval()
    usual.load_state_dict(kept.state_dict())
    clips = torch.randn(1, 9, 3, 64, 64)
    assert kept.maps(clips).shape == (1, 64, 4, 4, 4)
    assert usual.maps(clips).shape == (1, 64, 1, 4, 4)
    assert "strides" not in usual.config
    again = encoder_class(**kept.config).eval()
    again.load_state_dict(kept.state_dict())
    torch.testing.assert_close(again.maps(clips), kept.maps(clips))
    with pytest.raises(ValueError, match="strides is"):
        encoder_class(width=8, strides=(2, 3, 1))


def test_maps_of_motion_keep_the_energies_that_hand_made_features_are():
    torch.manual_seed(0)
    encoder, clips = MotionNet(width=2), torch.randn(4, 17, 3, 64, 64)
    maps = encoder.maps(clips)
    assert maps.shape == (4, 36, 4, 4, 4)
    energies = (F.avg_pool3d(change(clips, True), (1, 8, 8)) + NOISE).log10()[:, 0]  # of squares of 8 x 8, all change
    kept = maps[:, 16:20].unflatten(1, (2, 2)).permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)  # [4, 4, 8, 8]
    means = F.avg_pool3d(energies[:, None], (4, 1, 1))[:, 0]
    assert np.corrcoef(kept.detach().flatten(), means.flatten())[0, 1] > 0.9
    assert MotionNet(width=2, keep=False).maps(clips).shape == (4, 16, 4, 4, 4)
