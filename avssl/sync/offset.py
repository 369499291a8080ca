"""The audio-visual offset of a recording, in seconds, **positive if the sound is late**.

An event seen at t is heard at t + offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from avssl.data.samplers import clip_times, on_frames
from avssl.encoders.export import load
from avssl.media import MediaError, VideoInfo, VideoReader, open_video
from avssl.media.regions import WHOLE, Region, Shown, left_to_crop, noted_region, shown_of
from avssl.sync.calibration import WITHIN
from avssl.sync.network import Synchroniser

AT_ONCE = 64  # windows per forward pass
SIGMA = 1.4826  # of a normal distribution, in median absolute deviations
TOLERANCE = 0.001  # seconds by which a window's sound may extend beyond the recording's


class Curve(NamedTuple):
    """Distance between video and sound over a range of offsets.

    Attributes:
        offsets: ``[O]`` seconds, ascending, positive if the sound is late.
        distances: ``[O]`` means over windows, small where picture and sound fit.
        windows: ``[O]`` number of video windows whose sound at this offset lies within the recording.
        seconds: ``[O]`` of the video that these windows show; they overlap.
    """

    offsets: Tensor
    distances: Tensor
    windows: Tensor
    seconds: Tensor


class Offset(NamedTuple):
    """The offset of a recording.

    Attributes:
        seconds: positive if the sound is late relative to the picture.
        confidence: by how much the curve, smoothed, lies below its median there (`offset_from`); near 0 if the network
            sees no connection. SyncNet's (Chung & Zisserman 2016, section 3.2) is median minus minimum.
        curve: the curve that both come from, not smoothed.
    """

    seconds: float
    confidence: float
    curve: Curve

    @property
    def at_edge(self) -> bool:
        """Whether it lies at an end of what was searched: the true offset may lie beyond."""
        ends = self.curve.offsets[[0, -1]]
        return bool((ends - self.seconds).abs().min() < 1e-6)


def load_synchroniser(run: str | Path) -> Synchroniser:
    """Load the synchroniser of a run, in eval mode.

    Args:
        run: a run folder (``<run>/sync/`` is read), an export folder, or the weights file itself.

    Raises:
        FileNotFoundError: if the run has none: SyncNet, AVTS and OwensEfros export one.
        ValueError: if the file is damaged.
    """
    return load(run, Synchroniser, "sync")


def find_offset(
    video: str | Path | VideoReader,
    run: str | Path | Synchroniser,
    reach: float = 0.4,
    resolution: float = 0.02,
    most: int = 250,
    region: Region | None = None,
) -> Offset:
    """Estimate by how many seconds the sound of a recording is late (negative: early), with a confidence.

    Args:
        video: a recording, or an open reader.
        run: see `load_synchroniser`; or the network itself.
        reach: largest offset to search, early and late, in seconds.
        resolution: seconds from one offset to the next.
        most: largest number of video windows used, spread evenly over the recording.
        region: see `curve`.

    Raises:
        FileNotFoundError: if the run has no synchroniser.
        MediaError: if the recording can't be read, or has no sound.
        ValueError: if video or sound is too short.
    """
    network = run if isinstance(run, Synchroniser) else load_synchroniser(run)
    with open_video(video) if isinstance(video, str | Path) else nullcontext(video) as reader:
        return offset_from(curve(reader, network, offset_grid(reach, resolution), most, region))


def offset_from(found: Curve) -> Offset:
    """Return the offset at which a curve lies lowest, by the evidence for it.

    The curve is averaged with weights that fall to zero within 80 ms: an estimate is right within 40 ms, so the middle
    of a wide dip is better than the lowest point in it. A mean over little video is low by chance more often than one
    over much: what lies below the median counts in proportion to the square root of the seconds, as in a z-score. If a
    point within 40 ms is lower by more than noise explains, the dip is sharp, and that point is the estimate.
    """
    weights = (1 - (found.offsets[:, None] - found.offsets).abs() / (2 * WITHIN)).clamp(min=0).double()  # [O, O]
    smooth = weights @ found.distances.double() / weights.sum(1)
    evidence = (smooth.quantile(0.5) - smooth) * (found.seconds / found.seconds.max()).sqrt()
    best = evidence.argmax()
    near = (found.offsets - found.offsets[best]).abs() <= WITHIN + 1e-6
    lowest = found.distances.masked_fill(~near, float("inf")).argmin()
    noise = SIGMA * (found.distances - found.distances.quantile(0.5)).abs().quantile(0.5)
    sharp = found.distances[best] - found.distances[lowest] > 3 * noise
    return Offset(found.offsets[lowest if sharp else best].item(), evidence[best].item(), found)


def offset_grid(reach: float, resolution: float) -> Tensor:
    """Return ``[O]`` seconds from -reach to reach, including 0."""
    steps = round(reach / resolution)
    return torch.arange(-steps, steps + 1, dtype=torch.float64) * resolution


@torch.inference_mode()
def curve(
    reader: VideoReader, network: Synchroniser, offsets: Tensor, most: int = 250, region: Region | None = None
) -> Curve:
    """Compute the mean distance between windows of the video and the sound at each offset.

    Args:
        reader: the recording.
        network: synchroniser in eval mode, with an export's card.
        offsets: ``[O]`` seconds, ascending, evenly spaced.
        most: largest number of windows used.
        region: the part of each picture that the network is shown; None for what it learnt from, which is cut out of
            whole pictures, and of copies as far as they show more.

    Raises:
        ValueError: if video or sound is too short, or the pictures don't show all of what the network learnt from.

    Returns:
        The curve over the offsets at which at least a third of the windows have sound.
    """
    info = reader.info
    begin, end = sound_span(info)
    span = network.num_frames * network.step
    count = int((info.duration - span) / network.step + 1e-6) + 1
    starts = on_frames(torch.arange(max(count, 0), dtype=torch.float64) * network.step, info)
    grid = (offsets[1] - offsets[0]).item() if len(offsets) > 1 else network.step
    numbers = ((starts[:, None] + offsets) / grid).round().long()  # [P, O] start of each sound, in grid steps
    valid = (numbers * grid >= begin - TOLERANCE) & (numbers * grid + span <= end + TOLERANCE)
    every = valid.any(1).nonzero().flatten()
    if not len(every):
        raise ValueError(
            f"{info.path}: picture ({info.duration:.2f} s) and sound ({begin:.2f} to {end:.2f} s) share no window of "
            f"{span:.2f} s"
        )
    rows = every[torch.linspace(0, len(every) - 1, min(most, len(every))).round().long()]
    apart = min(len(every) / len(rows) * network.step, span)  # seconds from one window to the next
    part = region_for(network, noted_region(info.path.parent)) if region is None else region
    device = next(network.parameters()).device
    total, windows = torch.zeros(len(offsets), dtype=torch.float64), torch.zeros(len(offsets), dtype=torch.float64)
    for some in rows.split(AT_ONCE):
        times = clip_times(starts[some], network.num_frames, network.step)  # [P, T]
        clips = seen_of(reader, network, times.flatten(), part).unflatten(0, (len(some), -1))
        needed = numbers[some][valid[some]]  # other sounds are clamped to these, and not counted
        wanted, which = numbers[some].clamp(int(needed.min()), int(needed.max())).unique(return_inverse=True)
        sounds = _sounds(reader, wanted * grid, network)
        distances = network.distances(clips.to(device), sounds.to(device), which.to(device)).cpu().double()  # [P, O]
        total += (distances * valid[some]).sum(0)
        windows += valid[some].sum(0)
    kept = windows >= max(1.0, windows.max().item() / 3)
    windows = windows[kept]
    return Curve(offsets[kept], total[kept] / windows, windows.long(), (windows - 1) * apart + span)


def joined(curves: Sequence[Curve]) -> Curve:
    """Average the curves of shots that share one offset, each by the number of its windows.

    Args:
        curves: on parts of one grid of offsets.

    Returns:
        The curve over the offsets at which at least a third of the windows have sound, as of one recording.

    Raises:
        ValueError: if there is none.
    """
    if not curves:
        raise ValueError("there is no curve to join: no shot is long enough to be measured")
    offsets = torch.cat([part.offsets for part in curves])
    grid, places = (offsets * 1e6).round().unique(return_inverse=True)  # to microseconds
    distances = torch.cat([part.distances.double() * part.windows for part in curves])
    windows = torch.zeros(len(grid), dtype=torch.float64)
    windows.index_add_(0, places, torch.cat([part.windows.double() for part in curves]))
    total = torch.zeros(len(grid), dtype=torch.float64).index_add_(0, places, distances)
    seconds = torch.zeros(len(grid), dtype=torch.float64)
    seconds.index_add_(0, places, torch.cat([part.seconds.double() for part in curves]))
    kept = windows >= max(1.0, windows.max().item() / 3)
    return Curve((grid / 1e6)[kept], (total / windows)[kept], windows[kept].long(), seconds[kept])


def region_for(network: Synchroniser, shown: Shown) -> Region:
    """Return the part of pictures that shows what the network learnt from.

    Args:
        network: a synchroniser with an export's card.
        shown: the part of their sources' pictures that these show.

    Raises:
        ValueError: if the pictures don't show all of it.
    """
    learnt = network.card.get("region")
    if learnt is None:
        return WHOLE
    return left_to_crop(shown_of(learnt), shown)


def seen_of(reader: VideoReader, network: Synchroniser, times: Tensor, region: Region) -> Tensor:
    """Read frames at ``[T]`` seconds as a network is shown them, ``[T, 3, H, W]`` float."""
    height, width = network.card["size"]
    mean, std = (torch.tensor(network.card[name]).view(3, 1, 1) for name in ("mean", "std"))
    frames = _frames(reader, times, (height, width), region)
    return (frames.float() / 255 - mean) / std  # `normalise` rounds differently: stored confidences would change


def _frames(reader: VideoReader, times: Tensor, size: tuple[int, int], region: Region) -> Tensor:
    """Read ``[T, 3, H, W]`` frames of a region of the pictures, scaled to ``size``."""
    if region == WHOLE:
        return reader.frames(times, size)
    left, top, right, bottom = region
    (height, width), whole = size, (round(size[0] / (bottom - top)), round(size[1] / (right - left)))
    above, before = min(round(top * whole[0]), whole[0] - height), min(round(left * whole[1]), whole[1] - width)
    return reader.frames(times, whole)[..., above : above + height, before : before + width]


def sound_span(info: VideoInfo) -> tuple[float, float]:
    """Return the seconds at which the sound of a recording begins and ends.

    Raises:
        MediaError: if it has none.
    """
    if info.audio is None:
        raise MediaError(info.path, "no_audio", "there is no sound in this file", "An offset needs sound and picture")
    return info.audio.start, info.audio.start + info.audio.duration


def _sounds(reader: VideoReader, starts: Tensor, network: Synchroniser) -> Tensor:
    """Read ``[Q, S]`` sounds that begin at ``[Q]`` seconds, cut from one stretch."""
    first = starts[0].item()
    stretch = reader.audio(first, starts[-1].item() + (network.samples + 1) / network.rate, network.rate).samples
    places = ((starts - first) * network.rate).round().long()
    return stretch[places[:, None] + torch.arange(network.samples)]


def describe_offset(late: float) -> str:
    """Describe seconds by which the sound is late (negative: early), such as ``sound is 120 ms early``."""
    thousandths = round(1000 * late)
    return "in sync" if thousandths == 0 else f"sound is {abs(thousandths)} ms {'late' if thousandths > 0 else 'early'}"
