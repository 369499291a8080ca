"""What the settings of all synthetic worlds share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any, ClassVar, cast


class Settings:
    """Settings of a world: a base of frozen dataclasses, whose fields they are.

    Attributes:
        kind: of world, part of the key.
        rendering: part of the key; to be raised whenever the same settings would give different files.
        channels: of the sound.
        container: of the files, as FFmpeg names it.
    """

    kind: ClassVar[str]
    rendering: ClassVar[int] = 2
    channels: ClassVar[int] = 1
    container: ClassVar[str] = "mp4"

    videos: int
    seconds: float
    fps: int
    rate: int
    seed: int

    def __post_init__(self) -> None:
        """Raise a ValueError if a setting is out of range."""
        if self.videos < 1 or self.seconds < 1 or self.fps < 1 or self.rate < 8000 or self.seed < 0:
            raise ValueError(f"{self}: needs videos >= 1, seconds >= 1, fps >= 1, rate >= 8000 and seed >= 0")

    @property
    def num_frames(self) -> int:
        """Number of frames in each video."""
        return round(self.seconds * self.fps)

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on."""
        return {"rendering": self.rendering, "kind": self.kind, **asdict(cast(Any, self))}

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that identify these settings and the renderer's version."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:12]
