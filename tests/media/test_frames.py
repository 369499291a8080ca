from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from flashclick import EXACT, RECIPES, Recipe, cut_copy, number

from avssl.media import MediaError, VideoInfo, open_video, probe
from avssl.media.motion import scan
from avssl.media.pyav import PyAVReader

ALL = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def sequential(info: VideoInfo) -> tuple[np.ndarray, list[int]]:
    """Seconds of all frames and the numbers they show, decoded from the start without seeking or skipping."""
    seconds, numbers = [], []
    with PyAVReader(info) as reader:
        for tick, frame in reader.sequence():
            image = np.rot90(frame.to_ndarray(format="rgb24"), -info.rotation // 90)
            seconds.append(float(tick * reader.base) - info.origin)
            numbers.append(number(torch.from_numpy(image.copy()).permute(2, 0, 1)))
    return np.array(seconds), numbers


def random_times(seconds: np.ndarray, duration: float, count: int, seed: int) -> tuple[list[int], torch.Tensor]:
    """Frames to ask for, and a time at which each is shown: its very date, or one before the next frame's."""
    draw = np.random.default_rng(seed)
    picks = draw.integers(0, len(seconds), count)
    ends = np.append(seconds[1:], duration)
    inside = seconds[picks] + draw.choice([0, 0.3, 0.8], count) * (ends[picks] - seconds[picks])
    return picks.tolist(), torch.from_numpy(inside)


@ALL
def test_auto_gives_the_frames_of_a_sequential_decode(recipe: Recipe, films: dict[str, Path]) -> None:
    info = probe(films[recipe.name])
    seconds, numbers = sequential(info)
    assert numbers == list(range(recipe.frames))
    assert info.num_frames == recipe.frames
    assert info.size == recipe.size
    assert info.rotation == recipe.rotation
    if recipe.name.endswith(EXACT):
        assert np.abs(seconds - recipe.times).max() < 0.0006
        assert info.vfr == (len(recipe.gaps) > 1)
        assert info.fps == pytest.approx(recipe.frames / info.duration, rel=1e-3)
    with open_video(info.path, info=info) as reader:
        for seed in range(8):
            picks, times = random_times(seconds, info.duration, 6, seed)
            assert [number(image) for image in reader.frames(times)] == picks
        for pick in range(0, recipe.frames, 7):  # one at a time, forwards
            assert number(reader.frames(torch.tensor([seconds[pick]]))[0]) == pick


@pytest.mark.parametrize("name", ["h264.mp4", "pyramid.mp4", "open_gop.mp4", "hevc.mp4", "mpeg4_b.avi", "mpeg2.mpg"])
def test_skipping_and_seeking_change_no_pixel(name: str, films: dict[str, Path]) -> None:
    info = probe(films[name])
    with PyAVReader(info) as reader:
        whole = {tick: frame.to_ndarray(format="rgb24") for tick, frame in reader.sequence()}
        base = float(reader.base)
    ticks = sorted(whole)
    for pick in (3, 17, 30, 46, 59):
        with open_video(info.path, "pyav", info=info) as reader:
            image = reader.frames(torch.tensor([ticks[pick] * base - info.origin]))[0]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), whole[ticks[pick]])


@pytest.mark.parametrize("backend", ["torchcodec", "decord"])
@ALL
def test_other_backends_agree_or_refuse(backend: str, recipe: Recipe, films: dict[str, Path]) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    info = probe(films[recipe.name])
    if backend not in info.backends:
        assert recipe.name in ("open_gop.mp4", "hevc.mp4") or not recipe.name.endswith(EXACT)
        with pytest.raises(MediaError, match=backend) as caught:
            open_video(info.path, backend, info=info)
        assert caught.value.code == "unsafe_backend"
        return
    seconds, _ = sequential(info)
    with open_video(info.path, backend, info=info) as reader:
        for seed in range(2):
            picks, times = random_times(seconds, info.duration, 5, seed)
            video = reader.frames(times)
            assert [number(image) for image in video] == picks
            assert video.shape == (5, 3, *info.size)
        assert reader.frames(times, size=(48, 64)).shape == (5, 3, 48, 64)


def test_size_order_and_duplicates(films: dict[str, Path]) -> None:
    for name in ("h264.mp4", "turned90.mp4"):
        with open_video(films[name]) as reader:
            video = reader.frames(torch.tensor([0.4, 0.04, 0.4, 1.0]), size=(64, 96))
            assert video.shape == (4, 3, 64, 96)
            assert video.dtype == torch.uint8
            assert [number(image) for image in video] == [10, 1, 10, 25]


@pytest.mark.parametrize("bad", [[], [-0.01], [2.4], [float("nan")]])
def test_times_outside_are_refused(bad: list[float], films: dict[str, Path]) -> None:
    with open_video(films["h264.mp4"]) as reader, pytest.raises(ValueError, match="times"):
        reader.frames(torch.tensor(bad))


@pytest.mark.parametrize("source", ["h264.mp4", "long_gop.mp4", "aac.mkv", "no_b.mp4"])
def test_cut_copies_show_only_what_is_shown(source: str, films: dict[str, Path], tmp_path: Path) -> None:
    path = cut_copy(films[source], tmp_path / source, 0.72)
    info = scan(path, probe(path))
    seconds, numbers = sequential(info)
    assert info.num_frames == len(numbers)
    with open_video(path, info=info) as reader:
        for seed in range(4):
            picks, times = random_times(seconds, info.duration, 6, seed)
            assert [number(image) for image in reader.frames(times)] == [numbers[pick] for pick in picks]
    if source.endswith("mp4"):
        assert numbers == list(range(18, 60))
        assert "decord" not in info.backends


def test_the_file_that_hangs_decord_is_kept_from_it(tmp_path: Path) -> None:
    from flashclick import write

    source = write(Recipe("source.mp4", frames=432, gop=432, b_frames=0, audio=None, size=(48, 64)), tmp_path)
    path = cut_copy(source, tmp_path / "cut.mp4", 132 / 25)
    info = probe(path)
    assert info.num_frames == 300
    assert "decord" not in info.backends
    with pytest.raises(MediaError) as caught:
        open_video(path, "decord", info=info)
    assert caught.value.code == "unsafe_backend"
    with open_video(path, info=info) as reader:
        video = reader.frames(torch.tensor([0.0, 5.0, 11.99]))
    assert [number(image) for image in video] == [132, (132 + 125) % 256, 431 % 256]


def test_the_last_of_unevenly_spaced_frames_is_shown_until_the_end(shared_data):
    info = probe(shared_data / "odd_files" / "torchcodec_var_fps_video.mp4")
    assert info.vfr
    with open_video(info.path, "pyav", info=info) as reader:
        late = torch.linspace(info.duration - 0.02, info.duration - 1e-4, 5).double()
        shown = reader.frames(late)
    assert (shown == shown[-1]).all()
