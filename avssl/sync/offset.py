"""The offset between sound and picture of any recording.

Offsets are seconds, **positive where the sound is late**: what is seen at t is heard at t + offset.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from avssl.data.samplers import clip_times, on_frames
from avssl.encoders.export import load
from avssl.media import MediaError, VideoInfo, VideoReader, open_video
from avssl.sync.network import Synchroniser

AT_ONCE = 64  # windows a forward pass
TOLERANCE = 0.001  # seconds by which a sound may reach beyond the recording's


class Curve(NamedTuple):
    """How far picture and sound are from belonging together, over a range of offsets.

    Attributes:
        offsets: ``[O]`` seconds, ascending, positive where the sound is late.
        distances: ``[O]`` mean over windows; the smallest is where picture and sound fit best.
        windows: ``[O]`` windows of the picture whose sound, so much later, is within the recording.
    """

    offsets: Tensor
    distances: Tensor
    windows: Tensor


class Offset(NamedTuple):
    """The offset of a recording.

    Attributes:
        seconds: positive where the sound is late relative to the picture.
        confidence: median minus minimum of the curve (SyncNet: Chung & Zisserman 2016, section 3.2); near 0 where the
            network sees no connection.
        curve: that both come from.
    """

    seconds: float
    confidence: float
    curve: Curve


def load_synchroniser(run: str | Path) -> Synchroniser:
    """The network of a run that compares pictures with sounds, in eval mode.

    Args:
        run: a run folder (``<run>/sync/`` is read), an export folder, or the weights file itself.

    Raises:
        FileNotFoundError: where the run has none: SyncNet, AVTS and OwensEfros export one.
        ValueError: where the file is damaged.
    """
    return load(run, Synchroniser, "sync")


def find_offset(
    video: str | Path | VideoReader,
    run: str | Path | Synchroniser,
    reach: float = 0.4,
    resolution: float = 0.02,
    most: int = 250,
) -> Offset:
    """By how much the sound of a recording is late (positive) or early (negative), and how sure that is.

    Args:
        video: a recording, or an open reader.
        run: see `load_synchroniser`; or the network itself.
        reach: seconds of the largest offset that is looked for, early and late.
        resolution: seconds from one offset to the next.
        most: windows of the picture that are looked at, spread evenly over the recording.

    Raises:
        FileNotFoundError: where the run has no synchroniser.
        MediaError: where the recording can't be read, or has no sound.
        ValueError: where picture and sound are too short.
    """
    network = run if isinstance(run, Synchroniser) else load_synchroniser(run)
    with open_video(video) if isinstance(video, str | Path) else nullcontext(video) as reader:
        return offset_from(curve(reader, network, offset_grid(reach, resolution), most))


def offset_from(found: Curve) -> Offset:
    """Where a curve is lowest, and its median minus its minimum."""
    lowest = found.distances.argmin()
    confidence = found.distances.quantile(0.5) - found.distances[lowest]
    return Offset(found.offsets[lowest].item(), confidence.item(), found)


def offset_grid(reach: float, resolution: float) -> Tensor:
    """``[O]`` seconds from -reach to reach, 0 among them."""
    steps = round(reach / resolution)
    return torch.arange(-steps, steps + 1, dtype=torch.float64) * resolution


@torch.inference_mode()
def curve(reader: VideoReader, network: Synchroniser, offsets: Tensor, most: int = 250) -> Curve:
    """The mean distance between the windows of a picture and the sounds that are each of ``offsets`` later.

    Args:
        reader: of the recording.
        network: in eval mode, with an export's card.
        offsets: ``[O]`` seconds, ascending, evenly spaced.
        most: windows that are looked at.

    Returns:
        The curve over those offsets for which at least a third of the windows have sound.

    Raises:
        MediaError: where the recording can't be read, or has no sound.
        ValueError: where picture and sound are too short.
    """
    info = reader.info
    begin, end = sound_span(info)
    span = network.num_frames * network.step
    count = int((info.duration - span) / network.step + 1e-6) + 1
    starts = on_frames(torch.arange(max(count, 0), dtype=torch.float64) * network.step, info)
    grid = (offsets[1] - offsets[0]).item() if len(offsets) > 1 else network.step
    numbers = ((starts[:, None] + offsets) / grid).round().long()  # [P, O] sounds, by their place on the grid
    valid = (numbers * grid >= begin - TOLERANCE) & (numbers * grid + span <= end + TOLERANCE)
    rows = valid.any(1).nonzero().flatten()
    if not len(rows):
        raise ValueError(
            f"{info.path}: picture ({info.duration:.2f} s) and sound ({begin:.2f} to {end:.2f} s) share no window of "
            f"{span:.2f} s"
        )
    rows = rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).round().long()]
    size = tuple(network.card["size"])
    mean, std = (torch.tensor(network.card[name]).view(3, 1, 1) for name in ("mean", "std"))
    device = next(network.parameters()).device
    total, windows = torch.zeros(len(offsets), dtype=torch.float64), torch.zeros(len(offsets), dtype=torch.float64)
    for part in rows.split(AT_ONCE):
        times = clip_times(starts[part], network.num_frames, network.step)  # [P, T]
        frames = reader.frames(times.flatten(), (size[0], size[1])).unflatten(0, (len(part), -1))
        clips = (frames.float() / 255 - mean) / std
        wanted, which = numbers[part].clamp(*_ends(numbers[part], valid[part])).unique(return_inverse=True)
        sounds = _sounds(reader, wanted * grid, network)
        distances = network.distances(clips.to(device), sounds.to(device), which.to(device)).cpu().double()  # [P, O]
        total += (distances * valid[part]).sum(0)
        windows += valid[part].sum(0)
    kept = windows >= max(1.0, windows.max().item() / 3)
    return Curve(offsets[kept], (total / windows.clamp(min=1))[kept], windows[kept].long())


def sound_span(info: VideoInfo) -> tuple[float, float]:
    """Seconds at which the sound of a recording begins and ends.

    Raises:
        MediaError: where there is none.
    """
    if info.audio is None:
        raise MediaError(info.path, "no_audio", "there is no sound in this file", "An offset needs sound and picture")
    return info.audio.start, info.audio.start + info.audio.duration


def _ends(numbers: Tensor, valid: Tensor) -> tuple[int, int]:
    """The first and the last sound that any window needs; others are computed as one of these and not counted."""
    needed = numbers[valid]
    return int(needed.min()), int(needed.max())


def _sounds(reader: VideoReader, starts: Tensor, network: Synchroniser) -> Tensor:
    """``[Q, S]`` sounds that begin at ``[Q]`` seconds, cut from one stretch."""
    first = starts[0].item()
    stretch = reader.audio(first, starts[-1].item() + (network.samples + 1) / network.rate, network.rate).samples
    places = ((starts - first) * network.rate).round().long()
    return stretch[places[:, None] + torch.arange(network.samples)]


def in_words(late: float) -> str:
    """Seconds by which sound is late (negative: early) for people, such as ``sound is 120 ms early``."""
    thousandths = round(1000 * late)
    return "in sync" if thousandths == 0 else f"sound is {abs(thousandths)} ms {'late' if thousandths > 0 else 'early'}"
