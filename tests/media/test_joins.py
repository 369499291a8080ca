"""Recordings joined in one file, whose clocks start anew: sound stays with the pictures of its part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flashclick import Recipe, number, onsets, write

from avssl.media import VideoInfo, open_video, probe
from avssl.media.motion import scan

KINDS: dict[str, dict[str, Any]] = {
    "ts": {"options": {"x264-params": "repeat-headers=1"}},
    "flv": {},
    "mpg": {"video": "mpeg2video", "audio": "mp2", "fine": False},
}
HEADER = {"flv": 13}  # bytes that later parts do without; AVI has no clock that could start anew


def clicks(info: VideoInfo, start: float = 0.0, stop: float | None = None) -> np.ndarray:
    """Seconds at which clicks begin in a span."""
    with open_video(info.path, info=info) as reader:
        return onsets(reader.audio(start, stop or info.duration, 48000).samples, 48000) + start


@pytest.mark.parametrize("kind", KINDS)
def test_sound_follows_the_pictures_of_its_part(kind: str, tmp_path: Path) -> None:
    recipes = [
        Recipe(f"long.{kind}", frames=25, size=(48, 64), layout="mono", **KINDS[kind]),
        Recipe(f"mute.{kind}", frames=10, size=(48, 64), **{**KINDS[kind], "audio": None}),
        Recipe(f"late.{kind}", frames=20, size=(48, 64), layout="mono", audio_start=0.3, **KINDS[kind]),
    ]
    files = [write(recipe, tmp_path) for recipe in recipes]
    path = tmp_path / f"joined.{kind}"
    path.write_bytes(b"".join(file.read_bytes()[HEADER.get(kind, 0) * (n > 0) :] for n, file in enumerate(files)))
    info = probe(path)
    counts = [recipe.frames for recipe in recipes]
    assert info.num_frames == sum(counts)
    with open_video(path, info=info) as reader:
        seen = reader.frames((torch.arange(sum(counts), dtype=torch.float64) + 0.5) / 25)
    assert list(map(number, seen)) == [place for count in counts for place in range(count)]
    expected = []
    for file, recipe, start in zip(files, recipes, np.cumsum([0, *counts]) / 25, strict=False):
        if recipe.audio:
            found = clicks(probe(file), 0, recipe.frames / 25)
            assert len(found) == (1 if recipe.audio_start else 2)
            expected += list(start + found)
    assert clicks(info) == pytest.approx(expected, abs=0.001)
    for click in expected[::-1]:  # each in a span of its own
        assert np.abs(clicks(info, click - 0.1234, click + 0.1) - click).min() < 0.001
    assert info.audio is not None
    assert info.audio.start + info.audio.duration == pytest.approx(info.duration, abs=0.25)
    assert scan(path, info).duration == pytest.approx(info.duration)
