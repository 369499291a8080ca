import pytest
import torch
from torchvision.transforms import v2

from avssl.data.transforms import Augment, ColourJitter, Squash
from avssl.pixels import LUMA


@pytest.mark.parametrize("seed", range(5))
def test_every_frame_of_a_clip_is_treated_alike(seed):
    torch.manual_seed(seed)
    frame = torch.randint(0, 256, (3, 74, 74), dtype=torch.uint8)
    transform = Augment(64, jitter=1.0, grey=0.5, blur=0.5)
    out = transform(frame.expand(6, 3, 74, 74).clone())
    assert out.shape == (6, 3, 64, 64)
    assert out.dtype == torch.uint8
    assert (out == out[:1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_jitter_keeps_grey_grey_and_changes_in_brightness(seed):
    torch.manual_seed(seed)
    clip = torch.linspace(60, 180, 16).byte()[:, None, None, None].expand(16, 3, 8, 8)
    out = ColourJitter(0.5)(clip).float()
    assert (out.amax(1) - out.amin(1)).max() <= 1
    steps = out.mean((1, 2, 3)).diff()
    assert (steps >= 0).all()
    assert steps.sum() > 0


def test_jitter_is_as_strong_as_that_of_torchvision():
    torch.manual_seed(0)
    clip = torch.randint(40, 216, (2, 3, 16, 16), dtype=torch.uint8)
    brightness = torch.tensor(LUMA)[:, None, None]

    def spread(jitter):
        found = torch.stack([jitter(clip).float() for _ in range(300)])  # [300, 2, 3, 16, 16]
        light = (found * brightness).sum(2)
        return torch.stack(
            [light.mean((1, 2, 3)).std(), light.std((1, 2, 3)).std(), found.std(2).mean((1, 2, 3)).std()]
        )

    ours, theirs = spread(ColourJitter(0.5)), spread(v2.ColorJitter(0.4, 0.4, 0.4, 0.1))
    assert ((ours / theirs).log().abs() < 0.4).all(), (ours, theirs)


def test_jitter_changes_as_many_clips_as_it_is_told_to():
    clip = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    changed = sum(not torch.equal(ColourJitter(0.5, 0.3)(clip), clip) for _ in range(300))
    assert 60 < changed < 120
    assert torch.equal(ColourJitter(0.0)(clip), clip)


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
