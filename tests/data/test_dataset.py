from dataclasses import replace

import pytest
import torch

from avssl.data.dataset import ClipDataset, collate, key
from avssl.data.index import open_manifest
from avssl.data.samplers import RandomClips, TupleFrames
from avssl.data.transforms import Augment, Squash


def make(videos, **options):
    return ClipDataset(videos, RandomClips(2, 4, 0.1, audio=True), Augment(32, jitter=0.8), **options)


def same(one, other):
    return all(
        (getattr(one, name) is None and getattr(other, name) is None)
        or torch.equal(getattr(one, name), getattr(other, name))
        for name in type(one).__dataclass_fields__
    )


def test_an_item_is_a_function_of_seed_epoch_and_index(world):
    videos = open_manifest(world)
    item = make(videos, seed=3)[1, 5].clips
    torch.rand(7)  # whatever was drawn before must not matter
    assert same(item, make(videos, seed=3)[1, 5].clips)
    for seed, epoch, index in [(4, 1, 5), (3, 2, 5), (3, 1, 6)]:
        assert not torch.equal(item.times, make(videos, seed=seed)[epoch, index].clips.times)


def test_reading_an_item_leaves_the_global_random_numbers_alone(world):
    dataset = make(open_manifest(world))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    dataset[0, 0]
    assert torch.equal(before, torch.get_rng_state())


def test_shapes_types_and_times(world):
    clips = collate([make(open_manifest(world))[0, index] for index in range(3)])[0]
    assert clips.video.shape == (3, 2, 4, 3, 32, 32)
    assert clips.video.dtype == torch.uint8
    torch.testing.assert_close(clips.times.diff(dim=2), torch.full((3, 2, 3), 0.1).double())
    assert clips.audio.shape == (3, 2, 6400)
    assert torch.equal(clips.audio_times[..., 0], clips.times[..., 0])
    assert clips.label.shape == (3,)


def test_the_frames_are_those_shown_at_the_times(world):
    videos = open_manifest(world)
    dataset = ClipDataset(videos, TupleFrames(1, 1.0, 0.2), Squash(64))
    clips = dataset[0, 0].clips
    from avssl.media import open_video

    info = videos[int(dataset.kept[0])]
    with open_video(info.path, "pyav") as reader:
        shown = reader.frames(torch.arange(info.frames) / info.fps, (64, 64))
    for frame, second in zip(clips.video[0, 0], clips.times[0, 0].tolist(), strict=True):
        assert torch.equal(frame, shown[int(second * info.fps + 1e-6)])


class Broken:
    """A collection in which one video is not there."""

    def __init__(self, videos, bad):
        self.videos, self.bad = videos, bad

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, index):
        info = self.videos[index]
        return replace(info, path=info.path.with_name("gone.mp4")) if index == self.bad else info


def test_an_unreadable_video_is_replaced_by_the_same_one_every_time(world):
    videos = open_manifest(world)
    first, second = make(Broken(videos, 5))[0, 5], make(Broken(videos, 5))[0, 5]
    assert same(first.clips, second.clips)
    assert [failure.row for failure in first.failures] == [5]
    assert "gone.mp4" in first.failures[0].message
    replacement = key(0, 0, 5, 1) % len(videos)
    assert first.clips.label.item() == videos[replacement].label


def test_short_videos_are_dropped_and_counted_or_looped(world):
    videos = open_manifest(world)
    sampler = RandomClips(1, 50, 0.1)  # 5 s of 3 s videos
    with pytest.raises(ValueError, match=r"none of 24 videos .* 5\.00 s .* longest lasts 3\.00 s"):
        ClipDataset(videos, sampler, Squash(32))
    looped = ClipDataset(videos, sampler, Squash(32), short="loop")[0, 0].clips
    assert looped.times.diff().min() > 0  # the time axis goes on
    assert torch.equal(looped.video[0, 0, 0], looped.video[0, 0, 30])  # 3 s later, the same picture
