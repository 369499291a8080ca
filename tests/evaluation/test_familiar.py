"""Recordings that are unlike those that a network knows are called so, and more of the same are not."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from avssl.cli.sync import _compare
from avssl.encoders import FrameWindows, SoundWindows
from avssl.media import AudioClip, AudioInfo, VideoInfo
from avssl.media.regions import WHOLE
from avssl.sync.familiar import Familiar, describe, two_streams
from avssl.sync.network import Synchroniser, TwoStream


class Noise:
    """A second of noise to look at and to hear, brighter and louder where asked."""

    def __init__(self, seed: int, bright: float = 0.0) -> None:
        self.info = VideoInfo(Path(f"{seed}.mp4"), 1.0, 25.0, (16, 16), AudioInfo(16000, 1, 0.0, 1.0, "flac"))
        self.rng, self.bright = torch.Generator().manual_seed(seed), bright

    def frames(self, times, size=None):
        return (100 + 100 * self.bright + 50 * torch.rand(len(times), 3, *size, generator=self.rng)).to(torch.uint8)

    def audio(self, start, stop, rate, channels=1):
        noise = torch.randn(round((stop - start) * rate), generator=self.rng)
        return AudioClip((0.01 + 0.1 * self.bright) * noise, (start, stop))


def test_brighter_and_louder_recordings_are_unlike_the_known_ones(tmp_path, capsys):
    torch.manual_seed(0)
    network = TwoStream(FrameWindows(4), SoundWindows(8), 16, 8, (1, 4), num_frames=5, step=0.04).eval()
    network.card = {"mean": [0.0] * 3, "std": [1.0] * 3, "size": [16, 16]}
    groups = [str(number // 2) for number in range(60)]

    def seen(first: int, bright: float = 0.0) -> np.ndarray:
        readers = [Noise(first + number, bright) for number in range(60)]
        return np.stack([describe(reader, network, WHOLE).numpy() for reader in readers])

    _compare(seen(0), groups, Namespace(remember=tmp_path / "known.json", known=None))
    _compare(seen(100), groups, Namespace(remember=None, known=tmp_path / "known.json"))
    assert "UNLIKE" not in capsys.readouterr().out
    _compare(seen(200, bright=0.5), groups, Namespace(remember=None, known=tmp_path / "known.json"))
    assert "1.00 of 60 recordings" in (told := capsys.readouterr().out)
    assert "UNLIKE" in told


def test_what_cant_be_compared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 10 groups"):
        Familiar.fit(np.zeros((20, 3)), ["a", "b"] * 10)
    (tmp_path / "known.json").write_text("{}")
    with pytest.raises(ValueError, match="no known recordings"):
        Familiar.load(tmp_path / "known.json")
    with pytest.raises(ValueError, match="no stream for sound alone"):
        two_streams(Synchroniser(1, {}, 5, 0.04, 16000))
