"""Voice activity, by Silero's network, whose weights are in its wheel."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import threading
from typing import Any

import numpy as np
import torch

from avssl.media import VideoInfo, open_video

RATE, CHUNK = 16000, 512  # samples per second, and of each judgement
SECONDS = CHUNK / RATE
AT_ONCE = 18750  # chunks, 600 s
MISSING = "silero-vad isn't installed: `pip install 'avssl[faces]'`, or --speech.mode=off"
_own = threading.local()  # a network has a state


def speech_version() -> str:
    """Return the version of the network.

    Raises:
        ValueError: if it isn't installed; says what to do.
    """
    if importlib.util.find_spec("silero_vad") is None or importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(MISSING)
    return importlib.metadata.version("silero-vad")


def speech_of(info: VideoInfo) -> np.ndarray:
    """Return ``[S]`` the probability of speech in each 32 ms of a recording.

    Raises:
        MediaError: if its sound can't be decoded.
        ValueError: if the network isn't installed.
    """
    network, parts = _network(), []
    with open_video(info.path, "pyav", info) as reader:
        count = math.ceil(info.duration / SECONDS)
        for first in range(0, count, AT_ONCE):
            stop = min(first + AT_ONCE, count)
            samples = reader.audio(first * SECONDS, stop * SECONDS, RATE).samples
            parts.append(network.audio_forward(samples, RATE)[0].numpy())
    return np.concatenate(parts).round(3).astype(np.float32) if parts else np.zeros(0, np.float32)


def share_of_speech(speech: np.ndarray, start: float, stop: float, threshold: float) -> float:
    """Return the share of the time from ``start`` to ``stop`` seconds in which speech is at least that probable."""
    part = speech[int(start / SECONDS) : max(math.ceil(stop / SECONDS), int(start / SECONDS) + 1)]
    return float((part >= threshold).mean()) if len(part) else 0.0


def _network() -> Any:
    if not hasattr(_own, "network"):
        speech_version()
        threads = torch.get_num_threads()
        from silero_vad import load_silero_vad  # which leaves torch with one thread

        torch.set_num_threads(threads)
        _own.network = load_silero_vad(onnx=True)
    return _own.network
