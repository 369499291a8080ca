"""Samplers draw the seconds of a video that a pretext task sees.

A sampler is a pure function of (info, rng): it opens no file, keeps no state and is tested without a video. Its
attribute ``seconds`` is the duration of the shortest recording from which it can draw; `ClipDataset` drops (and counts)
or loops shorter ones, so that a sampler never sees them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from avssl.clips import ClipTimes
from avssl.media import VideoInfo
from avssl.media.info import MOTION_RATE
from avssl.runtime.checks import check_ranges

TINY = 1e-6  # seconds; margin for sums of times at the end of a recording


RANGES = {  # of the numbers of all samplers, by name
    **dict.fromkeys(("clips", "num_frames", "windows", "tuples", "pairs", "blocks", "questions"), "[1, inf)"),
    **dict.fromkeys(("classes", "views", "channels"), "[1, inf)"),
    **dict.fromkeys(("step", "grid", "paces", "near", "far", "reach", "tau_max", "gap_max", "shift_max"), "(0, inf)"),
    **dict.fromkeys(("gap", "apart", "window", "margin", "wobble", "tau_min", "gap_min", "shift_min"), "[0, inf)"),
}


def check_sampler(sampler: Any) -> None:
    """Check the numbers of a sampler, a dataclass, by their names (`RANGES`).

    Raises:
        ValueError: naming the first value that is out of range, or a ``*_min`` above its ``*_max``.
    """
    names = [field.name for field in fields(sampler)]
    check_ranges(type(sampler).__name__, sampler, **{name: RANGES[name] for name in names if name in RANGES})
    for low in (name for name in names if name.endswith("_min")):
        high = low.replace("_min", "_max")
        if getattr(sampler, low) > getattr(sampler, high):
            raise ValueError(
                f"{type(sampler).__name__}.{low} is {getattr(sampler, low)}, above {high}, {getattr(sampler, high)}"
            )


class ClipSampler(Protocol):
    """Draws the times of one recording that a method sees."""

    @property
    def seconds(self) -> float:
        """Duration in seconds of the shortest recording from which the sampler can draw."""
        ...

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw the times to read; the result depends on the arguments alone."""
        ...


@runtime_checkable
class ViewSampler(ClipSampler, Protocol):
    """Draws from a scene recorded by several cameras; ``ClipTimes.view`` is each clip's camera."""

    @property
    def views(self) -> int:
        """Number of cameras per item; if it is 1, every recording is an item."""
        ...


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """Draw a number uniformly from [low, high)."""
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def random_start(info: VideoInfo, span: float, rng: torch.Generator, motion_weighted: bool = False) -> float:
    """Draw the start, in seconds, of a window of ``span`` seconds within a recording that is at least as long.

    Windows are drawn uniformly, or in proportion to their motion (Misra et al., ECCV 2016, section 3.2); a manifest
    without a motion profile is then a ValueError.
    """
    latest = info.duration - span
    if not motion_weighted:
        return uniform(0.0, latest, rng)
    if info.motion is None:
        raise ValueError(
            f"{info.path}: motion-weighted sampling needs the manifest's motion profile; "
            "index the collection again without --no-motion, or set motion_weighted to false"
        )
    steps = max(1, int(latest * MOTION_RATE))
    width = max(1, round(span * MOTION_RATE))
    sums = torch.nn.functional.pad(info.motion.double().cumsum(0), (1, 0))  # [M + 1]
    begin = torch.arange(steps)
    weight = sums[(begin + width).clamp(max=len(sums) - 1)] - sums[begin.clamp(max=len(sums) - 1)]  # [steps]
    if not weight.sum() > 0:
        return uniform(0.0, latest, rng)
    chosen = torch.multinomial(weight, 1, generator=rng).item()
    return uniform(latest * chosen / steps, latest * (chosen + 1) / steps, rng)


def on_frames(starts: Tensor, info: VideoInfo) -> Tensor:
    """Move ``[...]`` seconds back to the start of the frame shown then.

    A frame is shown for 1/fps seconds. Without this, frames would be half of that late relative to their sound on
    average, and the spacing of a clip's frames would depend on its start. If the frame rate varies, the seconds are
    returned unchanged.
    """
    return starts if info.vfr else (starts * info.fps + 1e-6).floor() / info.fps


def clip_times(starts: Tensor, num_frames: int, step: float) -> Tensor:
    """Return ``[N, T]`` times, ``step`` seconds apart, from ``[N]`` starts."""
    return starts[:, None] + torch.arange(num_frames, dtype=torch.float64) * step


def sound_of(times: Tensor, step: float) -> Tensor:
    """Return ``[N, 2]`` start and stop of the sound of clips with ``[N, T]`` frame times."""
    return torch.stack([times[:, 0], times[:, 0] + times.shape[1] * step], dim=1)


@dataclass(frozen=True)
class RandomClips:
    """Clips with independent random starts.

    Args:
        clips: clips per video (N).
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
        motion_weighted: prefer windows with much motion.
        audio: read each clip's sound.
    """

    clips: int = 1
    num_frames: int = 16
    step: float = 0.08
    motion_weighted: bool = False
    audio: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of one clip; a single frame without sound takes no time, so an image is long enough."""
        return self.num_frames * self.step if self.num_frames > 1 or self.audio else TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``."""
        starts = [random_start(info, self.seconds, rng, self.motion_weighted) for _ in range(self.clips)]
        times = clip_times(torch.tensor(starts, dtype=torch.float64), self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step) if self.audio else None)


@dataclass(frozen=True)
class UniformClips:
    """Clips spread evenly over the recording, without random draws, for evaluation.

    Args:
        clips: clips per video (N); a single clip is taken from the middle.
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
        audio: read each clip's sound.
    """

    clips: int = 10
    num_frames: int = 16
    step: float = 0.08
    audio: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of one clip; a single frame without sound takes no time, so an image is long enough."""
        return self.num_frames * self.step if self.num_frames > 1 or self.audio else TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Return times ``[N, T]`` from the first to the last possible start."""
        latest = info.duration - self.seconds
        half = torch.tensor([0.5], dtype=torch.float64)
        place = half if self.clips == 1 else torch.linspace(0, 1, self.clips, dtype=torch.float64)  # [N]
        times = clip_times(place * latest, self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step) if self.audio else None)


@dataclass(frozen=True)
class ConsecutiveClips:
    """Consecutive clips with equal gaps, in their true order.

    Each starts with the start of a frame (`on_frames`). Steps that are not a whole number of frames are then rounded
    alike in all clips, and the pattern of rounding doesn't reveal their order.

    Args:
        clips: clips per video (N).
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
        gap: seconds from the end of one clip to the start of the next.
        motion_weighted: prefer windows with much motion.
    """

    clips: int = 3
    num_frames: int = 16
    step: float = 0.08
    gap: float = 0.32
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of all clips and the gaps between them."""
        return self.clips * self.num_frames * self.step + (self.clips - 1) * self.gap

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``, clip after clip."""
        start = random_start(info, self.seconds, rng, self.motion_weighted)
        offsets = torch.arange(self.clips, dtype=torch.float64) * (self.num_frames * self.step + self.gap)
        return ClipTimes(clip_times(on_frames(start + offsets, info), self.num_frames, self.step))


@dataclass(frozen=True)
class ShuffledClips(ConsecutiveClips):
    """`ConsecutiveClips` in a random order (VCOP: Xu et al., CVPR 2019, section 3.2, with gaps of 8 frames)."""

    step: float = 0.04

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``, with the clips permuted."""
        times = super().__call__(info, rng).times
        return ClipTimes(times[torch.randperm(self.clips, generator=rng)])


@dataclass(frozen=True)
class NearbyClips:
    """Two clips of one video, more often close in time than far apart (CVRL: Qian et al., CVPR 2021, section 3.2).

    The interval between the starts is drawn with a density that falls linearly to zero at the longest possible
    interval, the paper's best choice; the first start is then drawn uniformly from the remaining time.

    Args:
        num_frames: frames per clip (T).
        step: seconds between two frames of a clip.
    """

    num_frames: int = 16
    step: float = 0.08

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of one clip: the two may overlap."""
        return self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[2, T]``, in random order."""
        room = info.duration - self.seconds
        apart = room * (1 - math.sqrt(uniform(0, 1, rng)))  # inverse of the distribution function of 2 (1 - x)
        first = uniform(0, room - apart, rng)
        starts = torch.tensor([first, first + apart], dtype=torch.float64)
        return ClipTimes(clip_times(starts[torch.randperm(2, generator=rng)], self.num_frames, self.step))


@dataclass(frozen=True)
class SpreadClips:
    """Two clips of one video, each spread evenly over a part of it, however long the video is.

    A clip thus shows most of what happens, at a pace that follows from the video's duration, as a read-out of whole
    videos does (`avssl.evaluation.Views` with ``step=None``).

    Args:
        num_frames: frames per clip (T).
        share: smallest share of the recording that a clip is spread over; it and its place are drawn uniformly.
    """

    num_frames: int = 17
    share: float = 0.6

    def __post_init__(self) -> None:
        check_sampler(self)
        check_ranges("SpreadClips", self, share="(0, 1]")

    @property
    def seconds(self) -> float:
        """Any recording is long enough."""
        return TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[2, T]``."""
        middles = (torch.arange(self.num_frames, dtype=torch.float64) + 0.5) / self.num_frames
        clips = []
        for _ in range(2):
            span = uniform(self.share, 1.0, rng) * info.duration
            clips.append(uniform(0.0, info.duration - span, rng) + span * middles)
        return ClipTimes(torch.stack(clips))


@dataclass(frozen=True)
class TupleFrames:
    """Five frames a < b < c < d < e from which to form ordered and shuffled tuples (Misra et al., ECCV 2016, 3.1).

    (b, c, d) is in order, (b, a, d) and (b, e, d) are not, so that the first and last frame reveal nothing.

    Args:
        windows: independent sets of five frames per video (N).
        tau_max: longest time from b to d in seconds (60 frames in the paper).
        tau_min: shortest time from a to b and from d to e in seconds (15 frames in the paper).
        motion_weighted: prefer windows with much motion, as in the paper.
    """

    windows: int = 1
    tau_max: float = 2.0
    tau_min: float = 0.5
    motion_weighted: bool = True

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Shortest time from a to e: ``tau_min`` each from a to b, b to d and d to e."""
        return 3 * self.tau_min + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw increasing times ``[N, 5]``."""
        return ClipTimes(torch.stack([self._five(info, rng) for _ in range(self.windows)]))

    def _five(self, info: VideoInfo, rng: torch.Generator) -> Tensor:
        middle = min(self.tau_max, info.duration - 2 * self.tau_min - TINY)
        middle = uniform(self.tau_min, middle, rng) if middle > self.tau_min else middle
        a = random_start(info, middle + 2 * self.tau_min + TINY, rng, self.motion_weighted)
        b = a + self.tau_min
        d = b + middle
        e = uniform(d + self.tau_min, max(d + self.tau_min, min(info.duration, d + self.tau_max)), rng)
        a = uniform(max(0.0, b - self.tau_max), a, rng)
        c = uniform(b + middle / 4, d - middle / 4, rng)
        return torch.tensor([a, b, c, d, e], dtype=torch.float64)
