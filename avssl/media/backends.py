"""Choose the reader for each file."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path

from avssl.media.errors import MediaError
from avssl.media.info import VideoInfo, VideoReader
from avssl.media.probing import probe
from avssl.media.source import Source

_READERS = {"pyav": "PyAVReader", "torchcodec": "TorchCodecReader", "decord": "DecordReader", "image": "ImageReader"}


@cache
def installed(backend: str) -> bool:
    """Return True if a reader's package is installed. Imports nothing."""
    return importlib.util.find_spec({"pyav": "av", "image": "PIL"}.get(backend, backend)) is not None


def open_video(
    path: str | Path | Source, backend: str = "auto", info: VideoInfo | None = None, threads: int = 1
) -> VideoReader:
    """Open a recording to read frames and sound at given times.

    Args:
        path: a local file, or a source.
        backend: ``"auto"`` for the fastest one that reads this file correctly, ``"pyav"``, ``"torchcodec"`` or
            ``"decord"``; ``"image"`` for still images, which no other backend reads.
        info: this file's info from ``probe`` or a manifest; it is trusted, and the file is not probed again. Its
            ``source`` is read if it is set.
        threads: decoding threads; 1 starts no extra thread.

    Raises:
        MediaError: if the file can't be opened, or this backend would read it incorrectly.
        SourceError: if a source can't be read now.
        ValueError: if the backend is unknown.
    """
    info = info or probe(path)
    if backend == "auto":
        backend = next(name for name in (*info.backends, "pyav") if name in _READERS and installed(name))
    if backend not in _READERS:
        raise ValueError(f"backend: expected auto, {', '.join(_READERS)}, got {backend!r}")
    if not installed(backend):
        why = f"the reader {backend} is not installed"
        raise MediaError(path, "missing_backend", why, f'`pip install {backend}`, or backend="auto"')
    if backend not in info.backends:
        why = f"{backend} returns wrong frames for this file ({info.codec} in {info.container})"
        raise MediaError(path, "unsafe_backend", why, f'Use backend="auto", which takes {info.backends[0]}')
    reader = getattr(importlib.import_module(f"avssl.media.{backend}"), _READERS[backend])
    return reader(info, threads)
