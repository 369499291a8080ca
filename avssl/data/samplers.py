"""Which seconds of a video a pretext task sees.

A sampler is a pure function of (info, rng): it opens no file, keeps no state and is tested without a video. It has one
attribute, ``seconds``: the shortest recording from which it can draw. `ClipDataset` drops (and counts) or loops what is
shorter, so that a sampler never sees it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from avssl.clips import ClipTimes
from avssl.media import VideoInfo
from avssl.media.info import MOTION_RATE

TINY = 1e-6  # seconds, by which sums of times must stay clear of the end


class ClipSampler(Protocol):
    """Draws the times that a method wants to see from one recording."""

    @property
    def seconds(self) -> float:
        """The shortest recording, in seconds, from which the sampler can draw."""
        ...

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """The times to read; a function of its arguments alone."""
        ...


@runtime_checkable
class ViewSampler(ClipSampler, Protocol):
    """Draws from a scene that several cameras recorded at once: ``ClipTimes.view`` says which clip is whose."""

    @property
    def views(self) -> int:
        """Cameras an item, which ``ClipTimes.view`` counts from 0; with 1 every recording is an item."""
        ...


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """A number drawn evenly from [low, high)."""
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def random_start(info: VideoInfo, span: float, rng: torch.Generator, motion_weighted: bool = False) -> float:
    """Where a window of ``span`` seconds begins, so that it ends before the recording does.

    Args:
        info: the recording, at least ``span`` seconds long.
        span: length of the window in seconds.
        rng: the item's own random numbers.
        motion_weighted: draw windows in proportion to how much moves in them (Misra et al., ECCV 2016, section 3.2)
            instead of evenly.

    Raises:
        ValueError: where motion is asked for and the manifest has no motion profile.
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
    """``[...]`` seconds moved back to when the frame on show appeared.

    A frame is shown for 1/fps seconds; without this, pictures would be half of that late against their sound, and the
    distances between the frames of a clip would depend on where it begins. Recordings with a varying rate are left as
    they are.
    """
    return starts if info.vfr else (starts * info.fps + 1e-6).floor() / info.fps


def clip_times(starts: Tensor, num_frames: int, step: float) -> Tensor:
    """``[N]`` starts to ``[N, T]`` times, ``step`` seconds apart."""
    return starts[:, None] + torch.arange(num_frames, dtype=torch.float64) * step


def sound_of(times: Tensor, step: float) -> Tensor:
    """``[N, T]`` frame times to ``[N, 2]`` seconds: from the first frame of each clip to the end of its last one."""
    return torch.stack([times[:, 0], times[:, 0] + times.shape[1] * step], dim=1)


@dataclass(frozen=True)
class RandomClips:
    """Clips that begin anywhere, each on its own.

    Args:
        clips: clips a video (N).
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        motion_weighted: prefer windows in which much moves.
        audio: read the sound that goes with each clip.
    """

    clips: int = 1
    num_frames: int = 16
    step: float = 0.08
    motion_weighted: bool = False
    audio: bool = False

    @property
    def seconds(self) -> float:
        """One clip; a single frame without sound takes no time, so that an image is long enough."""
        return self.num_frames * self.step if self.num_frames > 1 or self.audio else TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]``, starts drawn independently."""
        starts = [random_start(info, self.seconds, rng, self.motion_weighted) for _ in range(self.clips)]
        times = clip_times(torch.tensor(starts, dtype=torch.float64), self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step) if self.audio else None)


@dataclass(frozen=True)
class UniformClips:
    """Clips spread evenly over the whole recording; draws nothing, so that evaluation is the same every time.

    Args:
        clips: clips a video (N); a single clip is taken from the middle.
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        audio: read the sound that goes with each clip.
    """

    clips: int = 10
    num_frames: int = 16
    step: float = 0.08
    audio: bool = False

    @property
    def seconds(self) -> float:
        """One clip; a single frame without sound takes no time, so that an image is long enough."""
        return self.num_frames * self.step if self.num_frames > 1 or self.audio else TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]`` from the first to the last possible start."""
        latest = info.duration - self.seconds
        share = (
            torch.linspace(0, 1, self.clips, dtype=torch.float64) if self.clips > 1 else torch.tensor([0.5]).double()
        )
        times = clip_times(share * latest, self.num_frames, self.step)
        return ClipTimes(times, sound_of(times, self.step) if self.audio else None)


@dataclass(frozen=True)
class ConsecutiveClips:
    """Clips that follow one another with the same gap between them, in their true order.

    Each begins with a frame (`on_frames`): steps that are no whole number of frames are rounded alike in all of them,
    and the pattern of the rounding doesn't tell which comes first.

    Args:
        clips: clips a video (N).
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        gap: seconds from the end of one clip to the start of the next.
        motion_weighted: prefer windows in which much moves.
    """

    clips: int = 3
    num_frames: int = 16
    step: float = 0.08
    gap: float = 0.32
    motion_weighted: bool = False

    @property
    def seconds(self) -> float:
        """All clips and the gaps between them."""
        return self.clips * self.num_frames * self.step + (self.clips - 1) * self.gap

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]``, clip after clip."""
        start = random_start(info, self.seconds, rng, self.motion_weighted)
        offsets = torch.arange(self.clips, dtype=torch.float64) * (self.num_frames * self.step + self.gap)
        return ClipTimes(clip_times(on_frames(start + offsets, info), self.num_frames, self.step))


@dataclass(frozen=True)
class ShuffledClips:
    """Consecutive clips shown in a random order (VCOP: Xu et al., CVPR 2019, section 3.2).

    Args:
        clips: clips a video (N).
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
        gap: seconds from the end of one clip to the start of the next (the paper: 8 frames).
        motion_weighted: prefer windows in which much moves.
    """

    clips: int = 3
    num_frames: int = 16
    step: float = 0.04
    gap: float = 0.32
    motion_weighted: bool = False

    @property
    def seconds(self) -> float:
        """All clips and the gaps between them."""
        return self._ordered.seconds

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, T]``, whole clips permuted."""
        times = self._ordered(info, rng).times
        return ClipTimes(times[torch.randperm(self.clips, generator=rng)])

    @property
    def _ordered(self) -> ConsecutiveClips:
        return ConsecutiveClips(self.clips, self.num_frames, self.step, self.gap, self.motion_weighted)


@dataclass(frozen=True)
class NearbyClips:
    """Two clips of one video, near in time more often than far (CVRL: Qian et al., CVPR 2021, section 3.2).

    The distance between the starts is drawn with a density that falls linearly to zero at the longest possible
    distance, the paper's best choice; then the first start is drawn evenly from what is left.

    Args:
        num_frames: frames a clip (T).
        step: seconds between two frames of a clip.
    """

    num_frames: int = 16
    step: float = 0.08

    @property
    def seconds(self) -> float:
        """One clip: the two may overlap."""
        return self.num_frames * self.step

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[2, T]``, in random order."""
        room = info.duration - self.seconds
        apart = room * (1 - math.sqrt(uniform(0, 1, rng)))  # inverse of the distribution function of 2 (1 - x)
        first = uniform(0, room - apart, rng)
        starts = torch.tensor([first, first + apart], dtype=torch.float64)
        return ClipTimes(clip_times(starts[torch.randperm(2, generator=rng)], self.num_frames, self.step))


@dataclass(frozen=True)
class TupleFrames:
    """Five frames a < b < c < d < e, of which tuples in and out of order are made (Misra et al., ECCV 2016, 3.1).

    (b, c, d) is in order, (b, a, d) and (b, e, d) are not: the first and the last frame say nothing.

    Args:
        windows: fives a video (N), each drawn on its own.
        tau_max: longest time from b to d in seconds (the paper: 60 frames).
        tau_min: shortest time from a to b and from d to e in seconds (the paper: 15 frames).
        motion_weighted: prefer windows in which much moves, as the paper does.
    """

    windows: int = 1
    tau_max: float = 2.0
    tau_min: float = 0.5
    motion_weighted: bool = True

    @property
    def seconds(self) -> float:
        """Room for a to e where b to d takes as long as a to b."""
        return 3 * self.tau_min + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[N, 5]``, rising."""
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
