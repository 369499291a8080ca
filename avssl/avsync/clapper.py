"""Measured synchrony of clapper recordings (`avssl.synthetic.clapper`) and of clips cut from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avssl.media import open_video


def click_times(path: Path) -> np.ndarray:
    """Return the seconds at which clicks begin in a recording."""
    with open_video(path, "pyav") as reader:
        info = reader.info
        assert info.audio is not None
        sound = reader.audio(0.0, info.duration, info.audio.rate).samples.abs().numpy()
    loud = np.flatnonzero(sound > 0.35 * max(sound.max(), 0.1))
    return loud[np.diff(loud, prepend=-(10**6)) > 0.05 * info.audio.rate] / info.audio.rate


def clap_offsets(path: Path) -> np.ndarray:
    """Return the seconds by which each click sounds after its light, for lights with a click within 0.5 s."""
    with open_video(path, "pyav") as reader:
        info = reader.info
        times = torch.arange(info.num_frames, dtype=torch.float64) / info.fps
        frames = reader.frames(times).float().mean(1)  # [T, H, W]
    patch = frames[:, : info.size[0] // 3, : info.size[1] // 3].mean((1, 2)).numpy()
    lights = np.flatnonzero((patch[1:] > 150) & (patch[:-1] < 100)) + 1
    clicks = click_times(path)
    if len(clicks) == 0 or len(lights) == 0:
        return np.zeros(0)
    late = clicks[None] - lights[:, None] / info.fps  # [lights, clicks]
    nearest = late[np.arange(len(lights)), np.abs(late).argmin(axis=1)]
    return nearest[np.abs(nearest) < 0.5]
