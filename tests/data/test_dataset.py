import re
from dataclasses import dataclass, replace

import av
import pytest
import torch

from avssl.catalog.index import open_manifest
from avssl.clips import ClipTimes
from avssl.data.dataset import ClipDataset, collate
from avssl.data.samplers import RandomClips, TupleFrames
from avssl.data.transforms import Augment, Squash
from avssl.media import pyav, reading
from avssl.runtime.seeds import key
from avssl.training.data import split


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


def test_an_item_does_not_depend_on_the_autocast_of_the_process_that_reads_it(world):
    dataset = ClipDataset(open_manifest(world), RandomClips(2, 4, 0.1), Augment(32, jitter=0.8, frame_jitter=0.5))
    plain = dataset[0, 0].clips
    with torch.autocast("cpu", torch.bfloat16):
        assert same(dataset[0, 0].clips, plain)


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
        shown = reader.frames(torch.arange(info.num_frames) / info.fps, (64, 64))
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


@pytest.mark.parametrize("kind", [av.error.PermissionError, av.error.InvalidDataError, OSError, IndexError])
def test_whatever_a_library_raises_costs_one_named_video(world, monkeypatch, kind):
    dataset = make(open_manifest(world))
    bad = dataset.videos[5].path
    read_audio = reading.read_audio

    def failing(container, info, *span):
        if info.path == bad:
            raise kind(1, "Operation not permitted")
        return read_audio(container, info, *span)

    for module in (reading, pyav):
        monkeypatch.setattr(module, "read_audio", failing)
    item = dataset[0, 5]
    (failure,) = item.failures
    assert (failure.row, failure.path, failure.code) == (5, str(bad), "corrupt")
    assert re.search(r"it can't be read from [\d.]+ to [\d.]+ s \(\w+: .*Operation not permitted", failure.message)


def test_short_videos_are_dropped_and_counted_or_looped(world):
    videos = open_manifest(world)
    sampler = RandomClips(1, 50, 0.1)  # 5 s of 3 s videos
    with pytest.raises(ValueError, match=r"none of 24 videos .* 5\.00 s .* longest lasts 3\.00 s"):
        ClipDataset(videos, sampler, Squash(32))
    looped = ClipDataset(videos, sampler, Squash(32), short="loop")[0, 0].clips
    assert looped.times.diff().min() > 0  # the time axis goes on
    assert torch.equal(looped.video[0, 0, 0], looped.video[0, 0, 30])  # 3 s later, the same picture


@dataclass(frozen=True)
class EveryCamera:
    """One clip of each camera at the same moments, the last camera first."""

    views: int = 2
    seconds: float = 1.0

    def __call__(self, info, rng):
        start = (info.duration - self.seconds) * torch.rand((), generator=rng).double()
        times = (start + torch.tensor([0.0, 0.5])).expand(self.views, 2)
        sound = torch.stack([times[:, 0], times[:, 1]], 1)
        return ClipTimes(times, sound, torch.arange(self.views - 1, -1, -1))


class Rows:
    """A collection in which some facts of some recordings are other than in the manifest."""

    def __init__(self, videos, changes):
        self.videos, self.changes = videos, changes

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, index):
        return replace(self.videos[index], **self.changes.get(index, {}))


def camera(info, times):
    from avssl.media import open_video

    with open_video(info.path, "pyav") as reader:
        return reader.frames(times, (48, 48))


def test_a_scene_is_one_item_and_each_clip_comes_from_its_own_camera(views):
    videos = open_manifest(views)
    dataset = ClipDataset(videos, EveryCamera(), Squash(48), backend="pyav")
    assert (len(videos), len(dataset), dataset.alone, dataset.dropped) == (32, 16, 0, 0)
    item = dataset[2, 5].clips
    first, second = (videos[row] for row in dataset.scenes[int(dataset.kept[5])])
    assert (first.group, first.view, second.group, second.view) == (first.group, "0", first.group, "1")
    assert torch.equal(item.video[0, 0], camera(second, item.times[0, 0]))
    assert torch.equal(item.video[0, 1], camera(first, item.times[0, 1]))
    assert not torch.equal(item.video[0, 0], item.video[0, 1])
    assert item.audio.shape[:2] == (1, 2)
    assert same(item, ClipDataset(videos, EveryCamera(), Squash(48), backend="pyav")[2, 5].clips)


def test_a_sampler_that_asks_for_no_cameras_sees_every_recording_for_itself(views):
    assert len(make(open_manifest(views))) == 32


def test_of_more_cameras_than_asked_for_each_item_draws_its_own(views):
    videos = open_manifest(views)
    rows = {row: {"group": "scene", "view": str(row)} for row in range(5)}
    dataset = ClipDataset(Rows(videos, rows), EveryCamera(), Squash(32))
    assert dataset.alone == 1  # the sixth recording has lost its other camera
    place = dataset.kept.tolist().index(0)
    drawn = {tuple(dataset._cameras(0, key(0, epoch, place))) for epoch in range(60)}
    assert drawn == {(i, j) for i in range(5) for j in range(i + 1, 5)}


def test_a_scene_is_as_long_as_its_shortest_recording(views):
    videos = open_manifest(views)
    dataset = ClipDataset(Rows(videos, {3: {"duration": 1.25}, 5: {"duration": 0.5}}), EveryCamera(), Squash(32))
    assert (len(dataset), dataset.dropped) == (15, 1)
    place = next(place for place, row in enumerate(dataset.kept) if 3 in dataset.scenes[int(row)])
    assert max(dataset[epoch, place].clips.times.min() for epoch in range(8)) < 0.25


def test_a_scene_with_an_unreadable_camera_is_replaced_as_a_whole(views):
    videos = open_manifest(views)
    gone = Rows(videos, {11: {"path": videos[11].path.with_name("gone.mp4")}})
    dataset = ClipDataset(gone, EveryCamera(), Squash(32))
    place = next(place for place, row in enumerate(dataset.kept) if 11 in dataset.scenes[int(row)])
    item = dataset[0, place]
    assert [failure.row for failure in item.failures] == [11]
    dataset.quarantine.add(item.failures[0])
    again = dataset[0, place]
    assert same(item.clips, again.clips)
    assert again.failures == item.failures
    assert item.clips.label.item() == videos[int(dataset.kept[key(0, 0, place, 1) % 16])].label


def test_scenes_are_never_split_and_wrong_collections_are_refused(views, world):
    sides = split(open_manifest(views), 0.25)
    assert not set(sides[0].column("group").to_pylist()) & set(sides[1].column("group").to_pylist())
    assert [len(ClipDataset(side, EveryCamera(), Squash(32))) for side in sides] == [12, 4]
    with pytest.raises(ValueError, match="none of 0 groups of the 24 videos has 2 synchronised cameras"):
        ClipDataset(open_manifest(world), EveryCamera(), Squash(32))
    twice = Rows(open_manifest(views), {1: {"view": "0"}})
    with pytest.raises(ValueError, match="are both view '0' of group"):
        ClipDataset(twice, EveryCamera(), Squash(32))
