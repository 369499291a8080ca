import math

import pytest
import torch

from avssl.encoders import ViT, load_encoder, save_encoder
from avssl.encoders.vit import GAIN, space_time_code


def test_patches_and_pixels_are_inverse_and_a_token_is_a_tubelet():
    encoder = ViT(8, 1, patch=4, tubelet=2)
    clips = torch.rand(2, 6, 3, 8, 12)
    patches = encoder.patches(clips)
    assert encoder.grid(clips) == (3, 2, 3)
    assert torch.equal(encoder.pixels(patches, encoder.grid(clips)), clips)
    token = 2 * 6 + 1 * 3 + 2  # third in time, second row, third column
    expected = clips[0, 4:6, :, 4:8, 8:12].permute(0, 2, 3, 1)  # frames, rows, columns, channels
    assert torch.equal(patches[0, token], expected.flatten())
    assert torch.equal(encoder.patches(clips[:, :5, :, :, :11]), encoder.patches(clips[:, :4, :, :, :8]))


def test_one_network_takes_clips_of_any_size():
    encoder = ViT(8, 2, patch=8).eval()
    for frames, height, width in [(8, 32, 32), (16, 64, 48), (2, 8, 112)]:
        maps = encoder.maps(torch.rand(1, frames, 3, height, width))
        assert maps.shape == (1, 8, frames // 2, height // 8, width // 8)
    with pytest.raises(ValueError, match=r"at least \(2, 8, 8\)"):
        encoder.maps(torch.rand(1, 1, 3, 8, 8))


def test_with_differences_a_still_clip_is_nothing_and_a_token_holds_what_changes():
    encoder = ViT(8, 1, patch=4, tubelet=2, differences=True)
    clips = torch.rand(2, 8, 3, 8, 12)
    changes = GAIN * (clips[:, 1:7] - clips[:, :6])  # seven differences make three tokens
    assert encoder.grid(clips) == (3, 2, 3)
    torch.testing.assert_close(encoder.pixels(encoder.patches(clips), (3, 2, 3)), changes)
    assert encoder.patches(clips[:, :1].expand(-1, 8, -1, -1, -1)).eq(0).all()
    with pytest.raises(ValueError, match=r"at least \(3, 4, 4\)"):
        encoder.maps(clips[:, :2])


def test_places_are_told_apart_and_the_same_in_clips_of_any_length():
    code = space_time_code((4, 5, 6), 24)
    assert torch.pdist(code).min() > 0.5
    assert space_time_code((8, 8, 8), 96).std(0).min() > 0.1  # over a small clip, no channel stands still
    assert torch.equal(space_time_code((9, 5, 6), 24)[: 4 * 5 * 6], code)
    sines, cosines = code[7].view(3, 8).split(4, 1)  # token 7: time 0, row 1, column 1
    torch.testing.assert_close(sines[:, 0], torch.tensor([0.0, math.sin(1), math.sin(1)]))
    torch.testing.assert_close(cosines[:, 0], torch.tensor([1.0, math.cos(1), math.cos(1)]))


def test_only_the_visible_tokens_are_looked_at_and_their_order_does_not_matter():
    torch.manual_seed(0)
    encoder = ViT(16, 2, patch=8).eval()
    clips = torch.rand(2, 4, 3, 16, 16)
    patches, places = encoder.patches(clips), encoder.positions(clips)
    visible = torch.tensor([6, 1, 3])
    features = encoder.encode(patches[:, visible], places[visible])
    assert features.shape == (2, 3, 16)
    order = torch.tensor([2, 0, 1])
    swapped = encoder.encode(patches[:, visible[order]], places[visible[order]])
    torch.testing.assert_close(swapped, features[:, order])
    whole = encoder.maps(clips).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.encode(patches, places), whole)
    assert not torch.allclose(whole[:, visible], features)  # those see more


def test_an_export_is_built_again(tmp_path):
    encoder = ViT(8, 1, patch=8, tubelet=4).eval()
    save_encoder(encoder, tmp_path, {"mean": [0.4] * 3, "std": [0.2] * 3, "size": [32, 32]})
    clips = torch.rand(1, 8, 3, 32, 32)
    assert torch.equal(load_encoder(tmp_path)(clips), encoder(clips))


@pytest.mark.parametrize("width", [0, 12, 200])
def test_a_width_that_gives_no_whole_heads_is_refused(width):
    with pytest.raises(ValueError, match="width must be a multiple of 8"):
        ViT(width, 1)
