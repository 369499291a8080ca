"""The views are what they say, features are made once, and an encoder that does not fit is named."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from avssl.encoders import R3D, S3D, ResNet
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import ViewDataset, Views, check_fits
from avssl.media import MediaError, open_video
from avssl.runtime.device import Machine

VIEWS = Views(clips=3, num_frames=4, step=0.1, size=32, segments=2)


def encoder_of(kind=ResNet):
    torch.manual_seed(0)
    encoder = kind(width=8).eval()
    encoder.card = {"mean": tiny.MEAN, "std": tiny.STD}
    return encoder


def test_clips_are_spread_evenly_and_end_within_the_video(collection):
    info = collection[0]
    times = VIEWS.times(info)
    assert times.shape == (3, 4)
    assert times[0, 0] == 0
    assert times.max() < info.duration
    torch.testing.assert_close(times[:, 0].diff(), times[:, 0].diff()[:1].expand(2))
    torch.testing.assert_close(times.diff(dim=1), torch.full((3, 3), 0.1, dtype=torch.float64))


def test_a_video_shorter_than_a_clip_is_played_again(collection):
    info = collection[0]
    times = Views(clips=2, num_frames=16, step=0.2, size=32).times(info)
    assert times.shape == (2, 16)
    assert times.max() < info.duration
    assert (times.diff(dim=1) < 0).any()


def test_squash_shows_the_whole_picture_and_crops_cut_it(collection):
    info = collection[0]
    times = VIEWS.times(info)
    pixels = ViewDataset(collection, [0], VIEWS)[0]
    assert pixels.shape == (3, 4, 3, 32, 32)
    with open_video(info.path, info=info) as reader:
        assert torch.equal(pixels.flatten(0, 1), reader.frames(times.flatten(), size=(32, 32)))
    wide = replace(info, size=(32, 64))  # the reader scales to what the views ask for
    crops = Views(clips=1, num_frames=4, step=0.1, size=32, fit="crop", crops=3)
    left, middle, right = crops.read(wide, times[:1])
    with open_video(info.path, info=info) as reader:
        whole = reader.frames(times[0], size=(32, 64))
    assert torch.equal(left, whole[..., :32])
    assert torch.equal(middle, whole[..., 16:48])
    assert torch.equal(right, whole[..., 32:])


def test_features_are_made_once(collection, tmp_path, monkeypatch):
    encoder, machine = encoder_of(), Machine(workers=0, cache=tmp_path)
    first = extract_features(encoder, collection, [1, 4], VIEWS, machine)
    assert first.shape == (2, 3, 2 * encoder.num_features)
    monkeypatch.setattr("avssl.evaluation.extraction.stream_features", None)  # must not be called again
    assert np.array_equal(extract_features(encoder, collection, [1, 4], VIEWS, machine), first)
    other = encoder_of(R3D)
    with pytest.raises(TypeError):
        extract_features(other, collection, [1, 4], VIEWS, machine)
    with pytest.raises(TypeError):
        extract_features(encoder, collection, [1, 4], replace(VIEWS, clips=2), machine)


def test_features_are_the_encoders_and_do_not_depend_on_workers(collection, tmp_path):
    encoder = encoder_of()
    views = replace(VIEWS, segments=4)
    alone = extract_features(encoder, collection, [0, 1, 2], views, Machine(workers=0, cache=tmp_path / "a"))
    pair = extract_features(encoder, collection, [0, 1, 2], views, Machine(workers=2, cache=tmp_path / "b"))
    assert np.array_equal(alone, pair)
    pixels = ViewDataset(collection, [2], views)[0].float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (tiny.MEAN, tiny.STD))
    with torch.inference_mode():
        expected = encoder.frames((pixels - mean) / std)
    torch.testing.assert_close(
        torch.tensor(alone[2]), expected.flatten(1), rtol=0.05, atol=0.05
    )  # bfloat16 where native


def test_an_encoder_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"S3D.*does not fit the protocol's views of 4 frames, 32 x 32.*at least"):
        check_fits(encoder_of(S3D), VIEWS)


def test_wrong_views_are_refused():
    with pytest.raises(ValueError, match="crops=3 needs fit=crop"):
        Views(crops=3)
    with pytest.raises(ValueError, match="16 frames can't be cut into 3"):
        Views(segments=3)


def test_an_unreadable_video_stops_the_evaluation(tmp_path):
    videos = tiny.write_world(tmp_path / "videos", groups=1)
    videos[0].path.write_bytes(b"")
    with pytest.raises(MediaError, match=videos[0].path.name):
        extract_features(encoder_of(), videos, [0, 1], VIEWS, Machine(workers=0, cache=tmp_path))
