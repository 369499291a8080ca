"""The settings of a synthetic world and the names of its classes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from avssl.synthetic.settings import Settings

CLASSES = ("bounce", "merge", "orbit_left", "orbit_right", "slide", "spin", "split", "swing")  # by label, sorted
GROUP, VIEW = r"/(\d+)_view", r"_view(\d)"  # patterns by which an index finds scene and camera in paths of two views


@dataclass(frozen=True)
class World(Settings):
    """A collection of rendered videos. Equal settings give equal files.

    Attributes:
        videos: number of scenes; scene i performs action ``CLASSES[i % 8]``.
        seconds: length of each video. Paths are designed for about 4 s: in longer videos motion is slower.
        fps: frames per second.
        size: height and width of the frames in pixels, even.
        rate: sampling rate of the sound, in Hz.
        views: 1, or 2 for two synchronised cameras on every scene.
        seed: another seed gives other scenes.
        depth: also write a folder ``<id>.depth`` with one depth map per frame beside each video.
        odd: share of the scenes in which something odd happens (`avssl.synthetic.odd.Oddity`); they are otherwise as
            with 0. A table ``odd.csv`` says where: path, kind (``label``), first and last second.

    Raises:
        ValueError: if a setting is out of range.
    """

    rendering: ClassVar[int] = 5

    videos: int = 240
    seconds: float = 4.0
    fps: int = 25
    size: int = 128
    rate: int = 16000
    views: int = 1
    seed: int = 0
    depth: bool = False
    odd: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 32 or self.size % 2:
            raise ValueError(f"World.size: expected an even number of pixels from 32 up (yuv420p), got {self.size}")
        if not 0 <= self.odd <= 1:
            raise ValueError(f"World.odd: expected a share from 0 to 1, got {self.odd}")
        if self.views not in (1, 2):
            raise ValueError(f"World.views: expected 1 or 2 cameras, got {self.views}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.size, self.size

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on; without ``odd`` at 0, which worlds written before it was there do not have."""
        given = {name: value for name, value in asdict(self).items() if name != "odd" or value}
        return {"rendering": self.rendering, **given, "classes": list(CLASSES)}

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that identify these settings and the renderer's version."""
        text = json.dumps({name: value for name, value in self.settings.items() if name != "classes"}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def label(self, index: int) -> int:
        """Return the class number of a scene."""
        return index % len(CLASSES)

    def path(self, index: int, view: int = 0) -> str:
        """Return a scene's path within the world's folder: ``class/id.mp4`` or ``class/id_viewN.mp4``."""
        suffix = f"_view{view}" if self.views > 1 else ""
        return f"{CLASSES[self.label(index)]}/{index:05d}{suffix}.mp4"

    def rng(self, index: int, purpose: int) -> np.random.Generator:
        """Return a generator for one scene and one purpose, independent of all others."""
        return np.random.default_rng([self.seed, index, purpose])
