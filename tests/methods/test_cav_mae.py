"""CAV-MAE and the transformers over frames and spectrograms that it trains."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import clips_of
from torch.nn import functional as F

from avssl.encoders import AudioViT, FrameViT, load_audio_encoder, load_encoder, save_encoder, weights_hash
from avssl.media import AudioInfo, VideoInfo
from avssl.methods import CAVMAE
from avssl.methods.audiovisual.cav_mae import FrameAndSound
from avssl.pixels import MEAN, STD

CARD = {"mean": list(MEAN), "std": list(STD), "size": [32, 32]}


def made(masked=0.75):
    torch.manual_seed(0)
    networks = FrameViT(16, 3, 8), AudioViT(16, 3, 16, bands=32)
    return CAVMAE(*networks, FrameAndSound(0.5), joint=2, hidden=16, depth=1, masked=masked)


def batch(videos=3):
    clips = clips_of(videos, 1, 1, 32)
    times = torch.tensor([0.0, 0.5]).double().expand(videos, 1, 2)
    return replace(clips, audio=0.1 * torch.randn(videos, 1, 8000), audio_times=times, audio_valid=times)


def test_the_streams_share_the_last_blocks_but_not_their_normalisations():
    method = made()
    for number in range(2):
        one, other, both = (
            part.layers[number - 2] for part in (method.encoder.blocks, method.audio_encoder.blocks, method.both)
        )
        assert one.qkv is other.qkv is both.qkv
        assert one.mlp is other.mlp is both.mlp
        assert len({id(block.norm1) for block in (one, other, both)}) == 3
    assert method.encoder.blocks.layers[0].qkv is not method.audio_encoder.blocks.layers[0].qkv
    with pytest.raises(ValueError, match="joint must be"):
        CAVMAE(FrameViT(16, 2, 8), AudioViT(16, 3), joint=2)
    with pytest.raises(ValueError, match="widths must be equal"):
        CAVMAE(FrameViT(16, 2, 8), AudioViT(24, 2))
    with pytest.raises(ValueError, match="patch is 16"):
        AudioViT(16, 2, patch=16, bands=8)


def test_the_exported_networks_are_those_whose_vectors_are_contrasted(tmp_path):
    method, clips = made(masked=0.0).eval(), batch()
    video, sound = clips.video[:, 0], clips.audio[:, 0]
    for name, network in method.exports().items():
        save_encoder(network, tmp_path / name, CARD)
    encoder, audio_encoder = load_encoder(tmp_path / "encoder"), load_audio_encoder(tmp_path / "audio_encoder")
    assert weights_hash(encoder) == weights_hash(method.encoder)
    shown = method.audio_encoder.spectrogram(sound)
    for network, inputs, pictures in ((encoder, video, video), (audio_encoder, sound, shown)):
        own = method.encoder if network is encoder else method.audio_encoder
        vectors = method._vector(own, method._masked(own, pictures))  # nothing is hidden
        torch.testing.assert_close(F.normalize(network(inputs), dim=1), vectors)


def test_what_is_masked_is_not_seen_and_a_patch_is_compared_with_the_same_patch():
    method, clips = made().eval(), batch()
    video = clips.video[:, 0]
    torch.manual_seed(1)
    seen = method._masked(method.encoder, video)
    assert seen.hidden.shape == (3, 12)
    assert torch.equal(torch.cat([seen.visible, seen.hidden], 1).sort(1).values, torch.arange(16).expand(3, -1))
    patches = seen.patches.scatter(1, seen.hidden[..., None].expand(-1, -1, seen.patches.shape[2]), 7.0)
    torch.manual_seed(1)
    other = method._masked(method.encoder, method.encoder.pixels(patches, method.encoder.grid(video)))
    torch.testing.assert_close(other.tokens, seen.tokens)
    assert not torch.equal(other.patches, seen.patches)
    same = batch(2)
    same = replace(same, video=same.video[:1].expand(2, -1, -1, -1, -1, -1), audio=same.audio[:1].expand(2, -1, -1))
    out = method(same)
    assert out["identified_frame"].tolist() == out["identified_sound"].tolist() == [0.5, 0.5]


def test_frames_are_encoded_one_by_one():
    torch.manual_seed(0)
    encoder, clips = FrameViT(16, 2, 8).eval(), torch.randn(2, 3, 3, 16, 24)
    maps = encoder.maps(clips)
    assert maps.shape == (2, 16, 3, 2, 3)
    torch.testing.assert_close(maps[:, :, 1:2], encoder.maps(clips[:, 1:2]))
    torch.testing.assert_close(encoder.frames(clips), maps.mean((3, 4)).mT)
    torch.testing.assert_close(encoder(clips), maps.mean((2, 3, 4)))
    assert encoder.per_frame


def test_the_frame_is_of_the_seconds_that_are_heard():
    info = VideoInfo(Path("x.mp4"), 4.0, 25.0, (80, 80), AudioInfo(16000, 1, 0.1, 3.8, "aac"))
    sampler, rng = FrameAndSound(2.0), torch.Generator().manual_seed(0)
    drawn = [sampler(info, rng) for _ in range(300)]
    place = torch.stack([clip.times[0, 0] - clip.audio[0, 0] for clip in drawn])
    assert 0 <= place.min() < 0.1
    assert 1.9 < place.max() <= 2
    heard = torch.cat([clip.audio for clip in drawn])
    torch.testing.assert_close(heard.diff(dim=1), torch.full((300, 1), 2.0).double())
    assert 0.1 <= heard.min() < 0.2
    assert 3.8 < heard.max() <= 3.9 + 1e-9
