"""What a sync dataset is to be like. Each block belongs to a stage: changing it redoes that stage and what follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


def _check(holds: bool, options: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{options}: expected {expected}")


@dataclass(frozen=True)
class Accept:
    """Which sources are taken.

    Attributes:
        length_tolerance: seconds by which sound and picture may differ in length.
        unsignalled: take sources whose container can't say how much the encoder delayed the sound.
        broken: of sources that stop decoding before their end, take what decodes.
    """

    length_tolerance: float = 1.0
    unsignalled: bool = False
    broken: bool = False

    def __post_init__(self) -> None:
        _check(self.length_tolerance >= 0, self, "length_tolerance >= 0")


@dataclass(frozen=True)
class Normal:
    """What every recording is turned into before anything is judged or cut.

    Attributes:
        short_side: pixels of the shorter side; smaller pictures are not enlarged.
        fps: frames a second, constant.
        gop: the most frames from one keyframe to the next. Clips begin at keyframes.
        crf: x264's quality; lower is better and larger.
        preset: x264's trade of time for size.
        audio_rate: samples a second of the sound, which is mono.
    """

    short_side: int = 256
    fps: float = 25.0
    gop: int = 10
    crf: float = 20.0
    preset: str = "veryfast"
    audio_rate: int = 16000

    def __post_init__(self) -> None:
        good = self.short_side >= 16 and self.gop >= 1 and self.fps > 0 and self.audio_rate > 0
        _check(good, self, "short_side >= 16, gop >= 1, fps > 0 and audio_rate > 0")


@dataclass(frozen=True)
class Shots:
    """How shots are found.

    Attributes:
        threshold: of PySceneDetect's ContentDetector: mean change of hue, saturation and value (0 to 255) from one
            frame to the next that makes a cut; 0 takes each recording for one shot.
        min_seconds: cuts that follow one another more closely are one.
    """

    threshold: float = 27.0
    min_seconds: float = 0.6

    def __post_init__(self) -> None:
        _check(self.threshold >= 0 and self.min_seconds > 0, self, "threshold >= 0 and min_seconds > 0")


@dataclass(frozen=True)
class Cut:
    """What clips are cut from a shot, and which of them are worth keeping.

    Attributes:
        seconds: length of a clip.
        stride: seconds from the start of one clip to that of the next; None for ``seconds``: no overlap.
        min_seconds: what is left at the end of a shot is a clip, too, if it lasts this long; None drops it.
        still: drop clips of whose frames more than this share doesn't differ from the one before.
        quiet: drop clips whose sound never exceeds this many decibels of full scale.
    """

    seconds: float = 5.0
    stride: float | None = None
    min_seconds: float | None = None
    still: float = 0.8
    quiet: float = -50.0

    def __post_init__(self) -> None:
        shortest = self.seconds if self.min_seconds is None else self.min_seconds
        good = 0 < shortest <= self.seconds and (self.stride is None or self.stride > 0)
        _check(good, self, "0 < min_seconds <= seconds and stride > 0")


@dataclass(frozen=True)
class Sync:
    """How the offset of the sound is estimated, and what is done about it. An offset is positive where sound is late.

    Attributes:
        mode: ``"score"`` writes offset and confidence down and keeps all clips; ``"drop"`` drops clips that are not in
            sync or of which that can't be told; ``"realign"`` shifts the sound of the former instead.
        run: folder of a trained run to estimate with; None correlates changes of loudness with changes of the picture.
        max_offset: seconds, either way, within which the offset is looked for.
        tolerance: seconds of offset that count as in sync.
        min_confidence: of an estimate that is believed. Its scale is the estimator's own; None is 6 for the
            correlation, and for a run it must be given.
    """

    mode: Literal["score", "drop", "realign"] = "score"
    run: Path | None = None
    max_offset: float = 0.6
    tolerance: float = 0.04
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        _check(0 <= self.tolerance < self.max_offset, self, "0 <= tolerance < max_offset")
        known = self.mode == "score" or self.run is None or self.min_confidence is not None
        _check(known, self, "min_confidence where a run is to drop or realign; look at the card of mode=score first")


@dataclass(frozen=True)
class Split:
    """How sources are divided, and the test set of fixed offsets.

    Attributes:
        validation: share of the groups of sources.
        test: share of the groups of sources.
        crop: seconds of the stretches of sound and picture that the fixed-offset test compares.
        step: seconds from one offset to the next.
        max_offset: seconds of the largest offset.
    """

    validation: float = 0.1
    test: float = 0.1
    crop: float = 2.0
    step: float = 0.2
    max_offset: float = 2.0

    def __post_init__(self) -> None:
        shares = self.validation >= 0 and self.test >= 0 and self.validation + self.test <= 1
        good = shares and 0 < self.step <= self.max_offset and self.crop > 0
        _check(good, self, "shares of at most 1 together, 0 < step <= max_offset and crop > 0")


@dataclass(frozen=True)
class Pack:
    """In what form the dataset is written.

    Attributes:
        form: ``"files"``, or ``"webdataset"`` for tar shards besides.
        sound: of each clip in a shard: ``"flac"`` or ``"wav"``.
        clips_per_shard: how many.
    """

    form: Literal["files", "webdataset"] = "files"
    sound: Literal["flac", "wav"] = "flac"
    clips_per_shard: int = 1000

    def __post_init__(self) -> None:
        _check(self.clips_per_shard >= 1, self, "clips_per_shard >= 1")


@dataclass(frozen=True)
class Options:
    """All of them."""

    accept: Accept = field(default_factory=Accept)
    normal: Normal = field(default_factory=Normal)
    shots: Shots = field(default_factory=Shots)
    cut: Cut = field(default_factory=Cut)
    sync: Sync = field(default_factory=Sync)
    split: Split = field(default_factory=Split)
    pack: Pack = field(default_factory=Pack)
