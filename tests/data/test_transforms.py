import pytest
import torch

from avssl.data.transforms import Augment, Squash


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_of_a_clip_is_treated_alike(seed):
    torch.manual_seed(seed)
    frame = torch.randint(0, 256, (3, 74, 74), dtype=torch.uint8)
    transform = Augment(64, jitter=1.0, grey=0.5, blur=0.5)
    out = transform(frame.expand(6, 3, 74, 74).clone())
    assert out.shape == (6, 3, 64, 64)
    assert out.dtype == torch.uint8
    assert (out == out[:1]).all()


def test_two_clips_are_treated_differently():
    frame = torch.randint(0, 256, (2, 3, 74, 74), dtype=torch.uint8)
    transform = Augment(64)
    assert not torch.equal(transform(frame), transform(frame))


def test_without_probabilities_only_the_crop_is_drawn():
    frame = torch.full((2, 3, 74, 74), 7, dtype=torch.uint8)
    assert (Augment(64, flip=0.0)(frame) == 7).all()


def test_decode_size_squashes_or_keeps_the_aspect_ratio():
    assert Squash(112).decode_size((240, 320)) == (112, 112)
    assert Augment(112).decode_size((240, 320)) == (128, 128)
    assert Augment(112, square=False).decode_size((240, 320)) == (128, 171)
