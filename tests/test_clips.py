import pytest
import torch

from avssl.clips import Clips
from avssl.pixels import normalise


def batch(**values):
    return Clips(torch.zeros(2, 3, 4, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 4).double(), **values)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("audio", (2, 4, 100)),
        ("audio_times", (2, 3)),
        ("audio_valid", (3, 3, 2)),
        ("target", (2, 2, 8)),
        ("label", (3,)),
    ],
)
def test_a_wrong_shape_is_named_with_what_was_expected(name, shape):
    with pytest.raises(ValueError, match=rf"Clips\.{name}: expected .* got \[{shape[0]}"):
        batch(**{name: torch.zeros(shape)})


def test_video_must_have_six_axes_and_three_channels():
    with pytest.raises(ValueError, match=r"Clips\.video"):
        Clips(torch.zeros(2, 3, 4, 1, 8, 8), torch.zeros(2, 3, 4))


def test_normalised_is_pixels_over_255_less_mean_over_std():
    clips = batch()
    clips.video.random_(256)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    expected = (clips.video.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(clips.normalised(mean, std).video, expected)
    last = clips.video.movedim(-3, -1).contiguous().movedim(-1, -3)  # the memory format that readers give
    assert torch.equal(normalise(last, mean, std), clips.normalised(mean, std).video)
    assert normalise(last, mean, std).stride() == last.stride()
    assert torch.equal(clips.normalised(mean, std).rgb, clips.video.float() / 255)
    torch.testing.assert_close(clips.normalised(mean, std).denormalise(expected), clips.video.float() / 255)
    torch.testing.assert_close(clips.normalised(mean, std).normalise(clips.video.float() / 255), expected)
    with pytest.raises(ValueError, match="how these clips are normalised is unknown"):
        clips.denormalise(expected)
    with pytest.raises(ValueError, match="only the clips that Clips"):
        _ = clips.rgb


def test_to_moves_all_and_keeps_what_is_absent_absent():
    moved = batch(label=torch.tensor([1, 2])).to("cpu")
    assert moved.audio is None
    assert moved.label.tolist() == [1, 2]
    assert len(moved) == 2
