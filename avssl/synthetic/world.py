"""The settings of a synthetic world, and the names of its classes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

RENDERING = 4
"""Raise this number whenever the same settings would give other files: it is part of a world's hash."""

CLASSES = ("bounce", "merge", "orbit_left", "orbit_right", "slide", "spin", "split", "swing")
"""The actions, in the order of their label: sorted, as an indexer of class folders numbers them."""

GROUP, VIEW = r"/(\d+)_view", r"_view(\d)"
"""How an indexer tells scenes and cameras apart where there are two cameras."""


@dataclass(frozen=True)
class World:
    """A collection of rendered videos. Equal settings give equal files.

    Attributes:
        videos: number of scenes; scene i performs action ``CLASSES[i % 8]``.
        seconds: length of each video. The paths are made for about 4 s: longer videos move more slowly.
        fps: frames a second.
        size: height and width of the picture in pixels, even.
        rate: samples a second of the sound.
        views: 1, or 2 for two synchronised cameras on every scene.
        seed: another seed gives other scenes.
        depth: whether a folder ``<id>.depth`` of depth maps, one for each frame, lies beside each video.

    Raises:
        ValueError: where a setting is out of range.
    """

    videos: int = 240
    seconds: float = 4.0
    fps: int = 25
    size: int = 128
    rate: int = 16000
    views: int = 1
    seed: int = 0
    depth: bool = False

    def __post_init__(self) -> None:
        if self.videos < 1 or self.seconds < 1 or self.fps < 1 or self.rate < 8000 or self.seed < 0:
            raise ValueError(f"{self}: needs videos >= 1, seconds >= 1, fps >= 1, rate >= 8000 and seed >= 0")
        if self.size < 32 or self.size % 2:
            raise ValueError(f"World.size: expected an even number of pixels from 32 up (yuv420p), got {self.size}")
        if self.views not in (1, 2):
            raise ValueError(f"World.views: expected 1 or 2 cameras, got {self.views}")

    @property
    def num_frames(self) -> int:
        """Number of frames in each video."""
        return round(self.seconds * self.fps)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name these settings and this version of the renderer."""
        text = json.dumps({"rendering": RENDERING, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def label(self, index: int) -> int:
        """The class number of scene ``index``."""
        return index % len(CLASSES)

    def path(self, index: int, view: int = 0) -> str:
        """Where the file of a scene lies within the world's folder: ``class/id.mp4`` or ``class/id_viewN.mp4``."""
        suffix = f"_view{view}" if self.views > 1 else ""
        return f"{CLASSES[self.label(index)]}/{index:05d}{suffix}.mp4"

    def rng(self, index: int, purpose: int) -> np.random.Generator:
        """The random numbers of one scene for one purpose, independent of every other scene and purpose."""
        return np.random.default_rng([self.seed, index, purpose])
