from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from flashclick import EXACT, RECIPES, Recipe, cut_copy, number, onsets

from avssl.media import MediaError, open_video, probe
from avssl.media.resample import resample

SOUNDING = [recipe for recipe in RECIPES if recipe.audio]


def heard(recipe: Recipe) -> np.ndarray:
    """The clicks that are in the file: those not before the sound begins."""
    return recipe.clicks[recipe.clicks + recipe.video_start >= recipe.audio_start]


@pytest.mark.parametrize("recipe", SOUNDING, ids=lambda recipe: recipe.name)
def test_clicks_sound_when_their_frames_are_shown(recipe: Recipe, films: dict[str, Path]) -> None:
    info = probe(films[recipe.name])
    limit = 0.001 if recipe.name.endswith(EXACT) else 0.03
    if recipe.name.endswith(EXACT):
        assert info.sync_grade == ("unsignalled" if recipe.name == "fragmented.mp4" else "exact")
    rates = (48000, 16000)
    with open_video(info.path, info=info) as reader:
        for rate in rates:
            found = onsets(reader.audio(0, info.duration, rate).samples, rate)
            assert len(found) == len(heard(recipe))
            assert np.abs(found - heard(recipe)).max() <= limit
        for click in heard(recipe)[::2]:  # the same event in a clip of its own, at an instant off every grid
            start = click - 0.1234
            found = onsets(reader.audio(start, start + 0.3, 48000).samples, 48000)
            assert np.abs(found + start - click).min() <= limit
        for step, click in zip(range(5, recipe.frames, 10), recipe.clicks, strict=True):
            if recipe.name.endswith(EXACT):
                assert number(reader.frames(torch.tensor([click]))[0]) == step


@pytest.mark.parametrize("source", ["h264.mp4", "aac.mkv"])
def test_cut_copies_stay_in_sync(source: str, films: dict[str, Path], tmp_path: Path) -> None:
    path = cut_copy(films[source], tmp_path / source, 0.72)
    info = probe(path)
    with open_video(path, info=info) as reader:
        first = number(reader.frames(torch.tensor([0.0]))[0])
        clip = reader.audio(0, info.duration, 48000)
    clicks = np.array([(frame - first) / 25 for frame in range(5, 60, 10) if frame > first + 1])
    found = onsets(clip.samples, 48000)
    assert np.abs(found[:, None] - clicks).min(axis=0).max() <= 0.001


def test_length_silence_and_valid_span(films: dict[str, Path]) -> None:
    with open_video(films["audio_late.mp4"]) as reader:
        clip = reader.audio(-0.25, 1.0, 16000)
        assert clip.samples.shape == (20000,)
        assert clip.samples.dtype == torch.float32
        assert clip.valid == (pytest.approx(0.479, abs=0.002), 1.0)  # 21 ms of AAC priming are sound of the file
        assert not clip.samples[: round(0.7 * 16000)].any()
        before = reader.audio(-2.0, -1.0, 16000)
        assert before.valid[0] == before.valid[1]
        assert not before.samples.any()
        after = reader.audio(100.0, 100.5, 8000)
        assert after.samples.shape == (4000,)
        assert after.valid[0] == after.valid[1]
    with pytest.raises(MediaError) as caught, open_video(films["silent_film.mp4"]) as reader:
        reader.audio(0, 1, 16000)
    assert caught.value.code == "no_audio"


def noise(path: Path, seconds: float, rate: int = 44100, layout: str = "stereo", codec: str = "aac") -> Path:
    """A small film with a chirp in every channel, each at its own level, whose mean has a peak of 0.3."""
    channels = av.AudioLayout(layout).nb_channels
    levels = np.linspace(0.1, 0.5, channels)
    time = np.arange(round(seconds * rate)) / rate
    chirp = np.sin(2 * np.pi * (200 * time + 10 * np.minimum(time, 10) ** 2))
    samples = (levels[:, None] * chirp).astype(np.float32)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.height = video.width = 32
        video.pix_fmt = "yuv420p"
        audio = out.add_stream(codec, rate=rate, layout=layout)
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 80 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        resampler = av.AudioResampler(format=audio.codec_context.format, layout=layout, rate=rate)
        size = audio.codec_context.frame_size or 1024
        for place in range(0, samples.shape[1], size):
            piece = np.ascontiguousarray(samples[:, place : place + size])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
            for part in resampler.resample(frame):
                out.mux(audio.encode(part))
        out.mux(audio.encode(None))
    return path


@pytest.mark.parametrize(
    ("layout", "codec"),
    [("mono", "aac"), ("stereo", "pcm_s16le"), ("5.1", "aac"), ("5.1", "flac"), ("stereo", "pcm_u8")],
)
def test_mono_is_the_mean_of_all_channels(layout: str, codec: str, tmp_path: Path) -> None:
    path = noise(tmp_path / ("a.mp4" if codec == "aac" else "a.mkv"), 1.0, layout=layout, codec=codec)
    with open_video(path) as reader:
        peak = reader.audio(0.2, 0.8, 44100).samples.abs().max()
    expected = 0.1 if layout == "mono" else 0.3
    assert peak == pytest.approx(expected, rel=0.05)


def test_the_same_call_gives_the_same_bits(tmp_path: Path) -> None:
    path = noise(tmp_path / "a.mp4", 2.0)
    with open_video(path) as reader:
        one = reader.audio(0.5, 1.0, 16000).samples
        reader.audio(1.2, 1.4, 22050)
        two = reader.audio(0.5, 1.0, 16000).samples
    with open_video(path) as reader:
        three = reader.audio(0.5, 1.0, 16000).samples
    assert torch.equal(one, two)
    assert torch.equal(one, three)


@pytest.mark.parametrize(("source", "rate"), [(44100, 16000), (48000, 16000), (8000, 16000), (22255, 16000)])
def test_resampling_keeps_pitch_level_and_place(source: int, rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(3 * source) / source).astype(np.float32)
    result = resample(tone, source, rate)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(result)) / rate)
    assert len(result) == 3 * rate
    assert np.abs(result - expected)[rate // 4 : -rate // 4].max() < 0.003


def test_ten_minutes_do_not_drift() -> None:
    clicks = np.zeros(600 * 44100, np.float32)
    places = np.arange(1, 600, 60)
    clicks[places * 44100] = 1
    result = torch.from_numpy(resample(clicks, 44100, 16000))
    assert [int(window.argmax()) for window in result.view(600, 16000)[places]] == [0] * 10
