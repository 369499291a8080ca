from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from films import film, grey

from avssl.catalog.encode import CopyOptions, copy_rate, copy_size, liveliest_rate, write_copy
from avssl.media import MediaError, open_video, probe
from avssl.runtime.files import digest_of
from avssl.synthetic.clapper import write_clapper

FPS, FLASH = 25, 30


def copied(source: Path, folder: Path, options: CopyOptions | None = None) -> Path:
    target = folder / "copy.mp4"
    write_copy(probe(source), target, options or CopyOptions())
    return target


def levels(path: Path, times: torch.Tensor) -> torch.Tensor:
    with open_video(path) as reader:
        return reader.frames(times).float().mean(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("source", "wanted", "rate"),
    [
        (25.0, None, 25),
        (30000 / 1001, None, Fraction(30000, 1001)),
        (29.77, None, Fraction(30000, 1001)),
        (50.0, None, 25),
        (60000 / 1001, None, Fraction(30000, 1001)),
        (33.0, None, 30),
        (120.0, None, 30),
        (7.3, None, Fraction(73, 10)),
        (60.0, 60, 60),
        (25.0, 12.5, Fraction(25, 2)),
    ],
)
def test_the_rate_is_exact_and_evenly_spaced(source, wanted, rate):
    assert copy_rate(source, wanted) == rate


def test_the_size_is_even_and_never_larger():
    assert copy_size((1080, 1920), 128) == (128, 228)
    assert copy_size((1920, 1080), 128) == (228, 128)
    assert copy_size((97, 63), 128) == (96, 64)
    assert copy_size((1, 1), 128) == (2, 2)
    with pytest.raises(ValueError, match="short_side is 8"):
        CopyOptions(short_side=8)


@pytest.mark.parametrize("short_side", [34, 48, 64])
def test_a_copy_has_the_same_bytes_every_time(tmp_path, short_side):
    """With a macroblock tree, one in five differed on processors with AVX-512, where sound is decoded in between."""
    write_clapper(tmp_path / "clap.mp4", frames=30, seed=1)
    info = probe(tmp_path / "clap.mp4")
    hashes = set()
    for _ in range(40):
        write_copy(info, tmp_path / "copy.mp4", CopyOptions(short_side=short_side))
        hashes.add(digest_of(tmp_path / "copy.mp4"))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("ending", "fps", "options"),
    [
        (".mp4", Fraction(25), CopyOptions()),
        (".mp4", Fraction(50), CopyOptions()),
        (".mkv", Fraction(30000, 1001), CopyOptions()),
        (".mkv", Fraction(30), CopyOptions(gop=1)),
        (".avi", Fraction(30), CopyOptions()),
        (".mp4", Fraction(25), CopyOptions(fps=10, short_side=32)),
    ],
)
def test_frame_k_is_what_the_source_shows_at_that_time(tmp_path, ending, fps, options):
    target = copied(film(tmp_path / f"source{ending}", frames=40, fps=fps), tmp_path, options)
    info = probe(target)
    rate = copy_rate(float(fps), options.fps)
    times = torch.arange(info.num_frames) / float(rate)
    expected = [grey(int(number / rate * fps)) for number in range(info.num_frames)]
    assert abs(info.num_frames / rate - 40 / fps) <= 1 / rate
    assert (info.fps, info.vfr, info.origin) == (pytest.approx(float(rate)), False, 0)
    assert info.size == ((48, 64) if options.short_side > 48 else (32, 42))
    assert (levels(target, times + 0.002) - torch.tensor(expected)).abs().max() < 6


def test_a_varying_rate_becomes_a_constant_one_on_the_same_time_axis(tmp_path):
    steps = np.random.default_rng(0).choice([0.02, 0.04, 0.12], 40)
    starts = np.concatenate([[0], np.cumsum(steps)[:-1]])
    target = copied(film(tmp_path / "source.mp4", frames=40, times=starts.tolist()), tmp_path, CopyOptions(fps=25))
    times = np.arange(probe(target).num_frames) / 25
    expected = [grey(int(np.searchsorted(starts, time + 1e-3, "right")) - 1) for time in times]
    assert (levels(target, torch.from_numpy(times) + 0.002) - torch.tensor(expected)).abs().max() < 6


@pytest.mark.parametrize("name", ["still.mp4", "still.mkv"])
def test_a_still_followed_by_motion_keeps_every_frame(tmp_path, name):
    starts = [0.0, *(3 + np.arange(25) / 25).tolist()]  # mean rate 6.5 per second
    source = film(tmp_path / name, frames=26, times=starts)
    info = probe(source)
    assert (info.vfr, info.fps) == (True, pytest.approx(26 / info.duration))
    target = copied(source, tmp_path)
    copy = probe(target)
    assert (copy.fps, copy.num_frames) == (25, round(info.duration * 25))
    found = levels(target, torch.tensor(starts, dtype=torch.float64) + 0.002)
    assert (found - torch.tensor([grey(number) for number in range(26)])).abs().max() < 6
    assert probe(copied(source, tmp_path, CopyOptions(fps=5))).fps == 5


def test_jitter_is_no_livelier_part(tmp_path):
    starts = np.arange(30) / 25 + np.random.default_rng(0).uniform(0, 0.015, 30)
    source = film(tmp_path / "source.mp4", frames=30, times=(starts - starts[0]).tolist())
    assert probe(source).vfr
    assert liveliest_rate(probe(source)) == probe(source).fps


def click_and_flash(path: Path) -> tuple[float, float]:
    """Seconds of the click and of the white frame, from the start of the picture."""
    info = probe(path)
    with open_video(path) as reader:
        starts = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
        white = reader.frames(starts + 0.002).float().mean(dim=(1, 2, 3))
        sound = reader.audio(0, info.duration, 16000).samples.abs()
    return int((sound > 0.35 * sound.max()).nonzero()[0]) / 16000, starts[int(white.argmax())].item()


def click(seconds: float, rate: int, length: float = 2.4) -> np.ndarray:
    sound = np.zeros(round(length * rate), np.float32)
    sound[round(seconds * rate) : round((seconds + 0.001) * rate)] = 0.8
    return sound


@pytest.mark.parametrize(
    ("ending", "codec", "rate", "late"),
    [
        (".mp4", "aac", 48000, 0.0),
        (".mp4", "aac", 44100, 0.5),
        (".mkv", "aac", 48000, 0.3),
        (".mov", "pcm_s16le", 22050, 0.0),
        (".mkv", "libopus", 48000, 0.0),
        (".mp4", "aac", 16000, 0.25),
    ],
)
def test_sound_stays_in_place_to_a_millisecond(tmp_path, ending, codec, rate, late):
    sound = click(FLASH / FPS - late, rate)
    source = film(
        tmp_path / f"source{ending}", 60, flash=FLASH, sound=sound, rate=rate, sound_start=late, audio_codec=codec
    )
    target = copied(source, tmp_path)
    heard, seen = click_and_flash(target)
    assert seen == pytest.approx(FLASH / FPS)
    assert abs(heard - seen) <= 1e-3
    info = probe(target)
    assert info.audio is not None
    assert (info.audio.rate, info.audio.channels, info.audio.codec, info.sync_grade) == (16000, 1, "flac", "exact")
    before = probe(source).audio
    assert before is not None
    assert info.audio.start == pytest.approx(max(0.0, before.start), abs=1e-3)


def test_a_range_of_sound_is_a_slice_of_the_whole(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 96000).astype(np.float32)
    target = copied(film(tmp_path / "source.mp4", 50, sound=sound), tmp_path)
    with open_video(target) as reader:
        whole = reader.audio(0, 2, 16000).samples
        assert torch.equal(reader.audio(0.77, 1.31, 16000).samples, whole[round(0.77 * 16000) : round(1.31 * 16000)])
    assert whole.std() > 0.03


def test_colours_survive_and_every_backend_agrees(tmp_path, shared_data):
    source = min((shared_data / "ut_interaction" / "hug").iterdir())
    target = copied(source, tmp_path)
    info = probe(target)
    assert {"pyav", "torchcodec", "decord"} <= set(info.backends)
    times = torch.arange(0, info.num_frames, 7) / info.fps + 0.002
    with open_video(source) as before, open_video(target) as after:
        error = after.frames(times).float() - before.frames(times, info.size).float()
    assert error.mean(dim=(0, 2, 3)).abs().max() < 2
    assert error.abs().mean() < 4


@pytest.mark.parametrize("region", [(0.25, 0.4, 0.75, 0.8), (0.1, 0.37, 1.0, 1.0), (0.0, 0.0, 0.33, 0.51)])
def test_a_region_is_that_part_of_every_picture(tmp_path, shared_data, region):
    source = min((shared_data / "ut_interaction" / "hug").iterdir())
    target = copied(source, tmp_path, CopyOptions(region=region, short_side=64))
    info, (left, top, right, bottom) = probe(target), region
    times = torch.arange(0, info.num_frames, 7) / info.fps + 0.002
    with open_video(source) as before, open_video(target) as after:
        height, width = before.info.size
        whole = before.frames(times)[..., round(top * height) : round(bottom * height), :]
        part = whole[..., round(left * width) : round(right * width)].float()
        expected = torch.nn.functional.interpolate(part, info.size, mode="area")
        found = after.frames(times).float()
    assert info.size[0] / info.size[1] == pytest.approx(part.shape[2] / part.shape[3], rel=0.06)
    assert (found - expected).abs().mean() < 6 < (found.roll(8, 3) - expected).abs().mean()


@pytest.mark.parametrize("region", [(0.5, 0.0, 0.5, 1.0), (0.0, 0.8, 1.0, 0.2), (0.0, 0.0, 1.2, 1.0)])
def test_a_region_that_is_none_is_refused(region):
    with pytest.raises(ValueError, match="region"):
        CopyOptions(region=region)


def test_a_source_that_breaks_off_is_an_error(tmp_path):
    source = film(tmp_path / "source.mkv", 50)
    info = probe(source)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(MediaError):
        write_copy(replace(info, backends=("pyav",)), tmp_path / "copy.mp4", CopyOptions())
