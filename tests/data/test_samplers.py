import importlib
import math
import pkgutil
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import avssl.data
import avssl.methods
from avssl.data.samplers import (
    ConsecutiveClips,
    NearbyClips,
    RandomClips,
    ShuffledClips,
    SpreadClips,
    TupleFrames,
    UniformClips,
)
from avssl.media import VideoInfo

SAMPLERS = [
    RandomClips(3, 8, 0.05),
    RandomClips(3, 1),
    RandomClips(2, 8, 0.05, motion_weighted=True, audio=True),
    UniformClips(4, 8, 0.05),
    UniformClips(1, 8, 0.05, audio=True),
    ConsecutiveClips(3, 4, 0.05, 0.1),
    ShuffledClips(3, 4, 0.05, 0.1),
    NearbyClips(8, 0.05),
    SpreadClips(9),
    TupleFrames(2, 1.0, 0.2),
]


def info(duration, motion=None):
    motion = torch.ones(math.ceil(duration * 8)) if motion is None else motion
    return VideoInfo(Path("a.mp4"), duration, 25.0, (64, 64), motion=motion)


def rng(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@given(extra=st.floats(0, 20), seed=st.integers(0, 2**32))
def test_times_lie_in_the_video_and_depend_on_the_arguments_alone(sampler, extra, seed):
    video = info(sampler.seconds + extra)
    drawn = sampler(video, rng(seed))
    assert drawn.times.dtype == torch.float64
    assert drawn.times.ndim == 2
    assert drawn.times.min() >= 0
    assert drawn.times.max() < video.duration
    assert torch.equal(drawn.times, sampler(video, rng(seed)).times)
    if drawn.audio is not None:
        assert drawn.audio.shape == (len(drawn.times), 2)
        torch.testing.assert_close(drawn.audio[:, 1] - drawn.audio[:, 0], torch.full((len(drawn.audio),), 0.4).double())
        assert torch.equal(drawn.audio[:, 0], drawn.times[:, 0])


@pytest.mark.parametrize("duration", [0.5, 60.0])
def test_spread_clips_show_most_of_a_video_however_long_it_is(duration):
    times = torch.cat([SpreadClips(9, share=0.6)(info(duration), rng(seed)).times for seed in range(200)])
    steps = times.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, 8))
    spans = 9 * steps[:, 0] / duration
    assert 0.6 - 1e-9 <= spans.min() < 0.65
    assert 0.95 < spans.max() <= 1 + 1e-9
    assert times[:, 0].max() > 0.2 * duration  # anywhere in the video
    with pytest.raises(ValueError, match="share is 0"):
        SpreadClips(share=0)


def test_five_frames_rise_and_keep_their_distances():
    sampler = TupleFrames(2000, 1.0, 0.2)
    times = sampler(info(4.0), rng(0)).times
    a, b, c, d, e = times.unbind(1)
    assert (times.diff(dim=1) > 0).all()
    assert (b - a).min() >= 0.2 - 1e-9  # tau_min
    assert (e - d).min() >= 0.2 - 1e-9
    assert (d - b).min() >= 0.2 - 1e-9
    assert (d - b).max() <= 1.0 + 1e-9  # tau_max
    assert (b - a).max() <= 1.0 + 1e-9
    assert (e - d).max() <= 1.0 + 1e-9
    assert ((c - b) / (d - b)).min() >= 0.25 - 1e-9
    assert ((c - b) / (d - b)).max() <= 0.75 + 1e-9


def test_nearby_clips_are_a_third_of_the_room_apart_on_average():
    sampler = NearbyClips(8, 0.05)
    video = info(10.0 + sampler.seconds)
    apart = torch.stack([sampler(video, rng(seed)).times[:, 0].diff() for seed in range(3000)])
    assert abs(apart.abs().mean() - 10 / 3) < 0.15  # mean of the density 2 (1 - x) on [0, 1] is 1/3
    assert abs((apart > 0).double().mean() - 0.5) < 0.04


def test_shuffled_clips_show_every_order_alike():
    sampler = ShuffledClips(3, 4, 0.05, 0.1)
    seen = [tuple(sampler(info(3.0), rng(seed)).times[:, 0].argsort().tolist()) for seed in range(1200)]
    counts = [seen.count(order) for order in set(seen)]
    assert len(counts) == 6
    assert min(counts) > 140


@pytest.mark.parametrize("step", [0.13, 0.11, 0.05])
def test_where_a_clip_lies_does_not_change_the_distances_between_its_frames(step):
    sampler = ShuffledClips(3, 8, step, 0.02)
    for seed in range(20):
        shown = (sampler(info(4.0), rng(seed)).times * 25 + 0.015).floor()  # as a reader finds frames: 0.6 ms of grace
        assert (shown - shown[:, :1] == shown[0] - shown[0, 0]).all()


def test_motion_weighting_prefers_windows_in_which_something_moves():
    motion = torch.zeros(80)
    motion[40:48] = 1.0  # from 5 s to 6 s of 10 s
    sampler = RandomClips(500, 8, 0.05, motion_weighted=True)
    starts = sampler(info(10.0, motion), rng(0)).times[:, 0]
    assert ((starts > 4.4) & (starts < 6.2)).all()


def test_motion_weighting_of_a_still_video_is_even_and_without_a_profile_an_error():
    sampler = RandomClips(500, 8, 0.05, motion_weighted=True)
    starts = sampler(info(10.0, torch.zeros(80)), rng(0)).times[:, 0]
    assert starts.std() > 2
    with pytest.raises(ValueError, match="motion profile"):
        sampler(VideoInfo(Path("a.mp4"), 10.0, 25.0, (64, 64)), rng(0))


def test_uniform_clips_reach_from_the_first_to_the_last_possible_start():
    times = UniformClips(5, 8, 0.05)(info(4.4), rng(0)).times
    torch.testing.assert_close(times[:, 0], torch.linspace(0, 4, 5).double())


def test_clips_of_one_frame_are_drawn_from_an_image_unless_they_have_sound():
    image = info(1 / 25)
    for sampler in (RandomClips(4, 1), UniformClips(4, 1)):
        assert sampler.seconds <= image.duration
        assert sampler(image, rng(0)).times.max() < image.duration
    assert RandomClips(4, 2).seconds == 0.16
    assert RandomClips(4, 1, audio=True).seconds == 0.08


def numbers_of(kind):
    """The fields of a sampler that hold numbers, and a wrong value for each."""
    for field in fields(kind):
        if isinstance(field.default, tuple):
            yield field.name, (-1.0, *field.default[1:])
        elif type(field.default) in (int, float):
            yield field.name, -1


def every_sampler():
    """Every sampler of the library that is a dataclass."""
    for room in (avssl.data, avssl.methods):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            for kind in vars(importlib.import_module(module.name)).values():
                if isinstance(kind, type) and is_dataclass(kind) and isinstance(vars(kind).get("seconds"), property):
                    yield kind


@pytest.mark.parametrize("kind", sorted(set(every_sampler()), key=lambda kind: kind.__name__))
def test_values_out_of_range_are_refused_when_a_sampler_is_made(kind):
    for name, value in numbers_of(kind):
        with pytest.raises(ValueError, match=rf"{name}\b"):
            kind(**{name: value})


def test_a_least_value_above_the_largest_is_refused():
    with pytest.raises(ValueError, match=r"TupleFrames\.tau_min is 3\.0, above tau_max, 2\.0"):
        TupleFrames(tau_min=3.0)
