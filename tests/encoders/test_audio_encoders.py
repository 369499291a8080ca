import pytest
import torch

from avssl.encoders import (
    VGG,
    AudioResNet,
    AudioViT,
    EarlyFusion,
    Fused,
    Waveform,
    load_audio_encoder,
    load_encoder,
    save_encoder,
    weights_hash,
)

AUDIO = [VGG, AudioResNet, AudioViT, Waveform]
CARD = {"mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "size": [32, 32]}


@pytest.mark.parametrize("kind", AUDIO)
def test_forward_is_the_mean_of_maps_and_float32(kind):
    torch.manual_seed(0)
    encoder = kind(width=8).eval()
    sound = 0.1 * torch.randn(2, 8000)
    maps = encoder.maps(sound)
    assert maps.shape[:2] == (2, encoder.num_features)
    assert maps.ndim == 3
    torch.testing.assert_close(encoder(sound), maps.mean(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(sound).dtype == torch.float32
    assert encoder.maps(torch.randn(1, encoder.min_samples)).numel() > 0


@pytest.mark.parametrize("kind", AUDIO)
def test_every_parameter_gets_a_gradient_and_masks_only_count_in_training(kind):
    torch.manual_seed(0)
    encoder = kind(width=8, mask=0.5) if kind is not Waveform else kind(width=8)
    encoder(0.1 * torch.randn(4, 6000)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
    encoder.eval()
    sound = 0.1 * torch.randn(1, 6000)
    assert torch.equal(encoder(sound), encoder(sound))


@pytest.mark.parametrize("kind", AUDIO)
def test_an_export_gives_back_the_same_audio_encoder(kind, tmp_path):
    encoder = kind(width=8)
    encoder(0.1 * torch.randn(4, 6000))
    save_encoder(encoder, tmp_path / "audio_encoder", CARD)
    again = load_audio_encoder(tmp_path)
    assert weights_hash(again) == weights_hash(encoder)
    assert again.rate == encoder.rate
    with pytest.raises(ValueError, match=r"not an avssl\.encoders\.Encoder"):
        load_encoder(tmp_path / "audio_encoder")


def test_wrong_sound_is_named():
    with pytest.raises(ValueError, match=r"VGG: expected float sound \[B, S\], got torch.int16"):
        VGG(8)(torch.zeros(1, 8000, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"Waveform: needs at least 256 samples \(0.016 s\), got 100"):
        Waveform(8)(torch.zeros(1, 100))


def test_a_louder_room_is_another_picture_but_a_later_onset_moves_the_maps():
    torch.manual_seed(0)
    encoder = Waveform(8).eval()
    sound = torch.zeros(1, 8192)
    sound[:, 2560] = 0.5
    moved = sound.roll(5 * 256, 1)
    torch.testing.assert_close(encoder.maps(moved)[..., 10:25], encoder.maps(sound)[..., 5:20])


def test_early_fusion_of_a_long_clip_is_that_of_its_windows():
    torch.manual_seed(0)
    encoder = EarlyFusion(8, window=3).eval()
    clip = torch.randn(1, 7, 3, 32, 32)
    windows = clip[0].unfold(0, 3, 1).permute(0, 4, 1, 2, 3)  # [5, 3, 3, 32, 32]
    torch.testing.assert_close(encoder.maps(windows)[:, :, 0], encoder.maps(clip)[0].transpose(0, 1))


@pytest.mark.parametrize("differences", [False, True])
def test_the_fused_network_hears_and_can_do_without(tmp_path, differences):
    torch.manual_seed(0)
    encoder = Fused(8, differences=differences).eval()
    clips, sound = torch.randn(2, 8, 3, 32, 32), 0.1 * torch.randn(2, 8000)
    assert encoder(clips).shape == (2, encoder.num_features)
    assert not torch.allclose(encoder.fused(clips, sound), encoder.fused(clips, sound.flip(0)))
    save_encoder(encoder, tmp_path, CARD)
    assert torch.equal(load_encoder(tmp_path)(clips), encoder(clips))
