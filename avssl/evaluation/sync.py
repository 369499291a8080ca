"""The offset between sound and picture of any recording, and how well a network finds it.

Offsets are seconds, **positive where the sound is late**: what is seen at t is heard at t + offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.data.manifest import Manifest
from avssl.data.progress import Tally
from avssl.data.samplers import clip_times
from avssl.encoders.export import load
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.pictures import _figure, _save
from avssl.media import AudioClip, MediaError, VideoInfo, VideoReader, open_video
from avssl.methods.audiovisual.streams import Synchroniser, on_frames

AT_ONCE = 64  # windows a forward pass
TOLERANCE = 0.001  # seconds by which a sound may reach beyond the recording's
SHIFTED = 0.2  # seconds from which on sound counts as out of sync


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


def offset_of(
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
    span = network.frames * network.step
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
        times = clip_times(starts[part], network.frames, network.step)  # [P, T]
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


def in_words(seconds: float) -> str:
    """An offset for people, such as ``sound is 120 ms early``."""
    thousandths = round(1000 * seconds)
    return "in sync" if thousandths == 0 else f"sound is {abs(thousandths)} ms {'late' if thousandths > 0 else 'early'}"


def curve_picture(found: Mapping[str, Offset], path: Path) -> None:
    """Draw the curves of some recordings.

    Args:
        found: offsets by name.
        path: PNG to write.
    """
    figure, axes = _figure(6.0)
    for number, (name, offset) in enumerate(found.items()):
        drawn = offset.curve
        axes.plot(1000 * drawn.offsets.numpy(), drawn.distances.numpy(), f"C{number % 10}")
        axes.axvline(
            1000 * offset.seconds, color=f"C{number % 10}", ls=":", label=f"{name}: {in_words(offset.seconds)}"
        )
    axes.axvline(0, color="grey", lw=0.5)
    axes.set_xlabel("offset in ms: negative, sound early; positive, sound late")
    axes.set_ylabel("distance between picture and sound")
    axes.legend(fontsize=7)
    _save(figure, path)


class Displaced:
    """A reader whose sound is late, or another recording's: what a recording out of sync would give.

    Args:
        picture: the recording.
        late: seconds by which the sound is made late.
        sound: where the sound comes from, ``picture`` where None.
    """

    def __init__(self, picture: VideoReader, late: float, sound: VideoReader | None = None) -> None:
        self._picture, self._late, self._sound = picture, late, sound or picture
        source, info = self._sound.info.audio, picture.info
        moved = None if source is None else type(source)(**{**vars(source), "start": source.start + late})
        self.info = type(info)(**{**vars(info), "audio": moved})

    def frames(self, times: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See ``VideoReader.frames``."""
        return self._picture.frames(times, size)

    def audio(self, start: float, stop: float, rate: int) -> AudioClip:
        """See ``VideoReader.audio``."""
        clip = self._sound.audio(start - self._late, stop - self._late, rate)
        return AudioClip(clip.samples, (clip.valid[0] + self._late, clip.valid[1] + self._late))

    def close(self) -> None:
        """The readers belong to the caller."""

    def __enter__(self) -> Displaced:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def synchrony(
    videos: Manifest,
    run: str | Path | Synchroniser,
    reach: float = 0.4,
    resolution: float = 0.02,
    seed: int = 0,
) -> dict[str, Any]:
    """How well a network knows in sync from out of sync, and finds offsets, on recordings that are in sync.

    Each recording's sound is made late by an offset drawn evenly from the grid within half the reach, and then

    - ``auc``: a pair in sync (at the true offset) against pairs at least 0.2 s from it, pooled over recordings;
    - ``accuracy``: the share of such pairs of one recording in which the one in sync is nearer, chance 0.5;
    - ``auc_other_video``: in sync against the sound of the next recording (easy negatives);
    - ``error_ms``: the estimated minus the true offset, median of its absolute value, mean, and each value;
    - ``within_a_frame`` and ``within_200_ms``: the share of recordings whose error is at most a frame (0.2 s), beside
      what an offset drawn evenly from the curve would reach.

    Args:
        videos: recordings in sync; those too short or silent are counted in ``left_out``.
        run: see `load_synchroniser`; or the network itself.
        reach: seconds, see `offset_of`.
        resolution: seconds, see `offset_of`.
        seed: of the offsets.

    Returns:
        JSON values; numbers have ``value``, ``ci95`` (bootstrap over groups of recordings) and ``chance``.

    Raises:
        FileNotFoundError: where the run has no synchroniser.
        ValueError: where no recording can be measured.
    """
    network = run if isinstance(run, Synchroniser) else load_synchroniser(run)
    rng = np.random.default_rng(seed)
    grid = offset_grid(reach, resolution)
    inner = grid[grid.abs() <= reach / 2 + 1e-9]
    drawn = inner[torch.from_numpy(rng.integers(len(inner), size=len(videos)))].tolist()
    groups = [info.group or str(info.path) for info in videos]
    rows: list[dict[str, Any]] = []
    with Tally("synchrony", len(videos)) as tally:
        for index, late in enumerate(drawn):
            row = _measure(videos[index], videos[(index + 1) % len(videos)], late, network, grid)
            tally.add("left out" if row is None else "measured")
            rows += [] if row is None else [{**row, "group": groups[index]}]
    if not rows:
        raise ValueError(f"none of {len(videos)} recordings is long enough to be measured over +-{reach} s")
    return _summary(rows, len(videos) - len(rows), seed)


def _measure(
    info: VideoInfo, other: VideoInfo, late: float, network: Synchroniser, grid: Tensor
) -> dict[str, Any] | None:
    """What `synchrony` needs of one recording; None where it is too short."""
    with open_video(info.path, info=info) as reader, open_video(other.path, info=other) as stranger:
        try:
            found = offset_from(curve(Displaced(reader, late), network, grid))
            easy = curve(Displaced(reader, 0.0, stranger), network, torch.zeros(1, dtype=torch.float64))
        except ValueError:
            return None
    away = (found.curve.offsets - late).abs()  # seconds from in sync
    if away.min() > 1e-6 or not (away >= SHIFTED).any():
        return None
    return {
        "error": found.seconds - late,
        "confidence": found.confidence,
        "in_sync": -found.curve.distances[away.argmin()].item(),
        "shifted": (-found.curve.distances[away >= SHIFTED - 1e-6]).tolist(),
        "other": -easy.distances[0].item(),
        "chance_frame": (away <= 1 / info.fps + 1e-6).double().mean().item(),
        "chance_200": (away <= SHIFTED + 1e-6).double().mean().item(),
        "frame": 1 / info.fps,
    }


def auc(positive: NDArray[np.float64], negative: Sequence[Sequence[float]]) -> float:
    """The probability that a positive scores higher than a negative, ties counted half.

    Args:
        positive: ``[V]`` scores.
        negative: for each of V recordings some scores.
    """
    others = np.sort(np.concatenate([np.asarray(values, dtype=np.float64) for values in negative]))
    below = np.searchsorted(others, positive, "left") + np.searchsorted(others, positive, "right")
    return float(below.mean() / (2 * len(others)))


def _summary(rows: list[dict[str, Any]], left_out: int, seed: int) -> dict[str, Any]:
    groups = [row["group"] for row in rows]
    error = np.array([row["error"] for row in rows])
    in_sync = np.array([row["in_sync"] for row in rows])
    shifted, other = [row["shifted"] for row in rows], [[row["other"]] for row in rows]

    def share(values: NDArray[np.float64], chance: float) -> dict[str, Any]:
        low_high = bootstrap(values[None], groups, seed)
        return {"value": float(values.mean()), "ci95": low_high, "chance": chance}

    def area(negative: list[list[float]]) -> dict[str, Any]:
        return {"value": auc(in_sync, negative), "ci95": _auc_interval(in_sync, negative, groups, seed), "chance": 0.5}

    nearer = np.array([auc(value[None], [values]) for value, values in zip(in_sync, shifted, strict=True)])
    frame = np.array([row["frame"] for row in rows])
    return {
        "videos": len(rows),
        "left_out": left_out,
        "auc": area(shifted),
        "accuracy": share(nearer, 0.5),
        "auc_other_video": area(other),
        "within_a_frame": share(
            (np.abs(error) <= frame + 1e-6).astype(float), float(np.mean([row["chance_frame"] for row in rows]))
        ),
        "within_200_ms": share(
            (np.abs(error) <= SHIFTED + 1e-6).astype(float), float(np.mean([row["chance_200"] for row in rows]))
        ),
        "error_ms": {
            "median_absolute": float(1000 * np.median(np.abs(error))),
            "mean": float(1000 * error.mean()),
            "each": (1000 * error).round(3).tolist(),
        },
        "confidence": {"median": float(np.median([row["confidence"] for row in rows]))},
    }


def _auc_interval(
    positive: NDArray[np.float64], negative: Sequence[Sequence[float]], groups: Sequence[str], seed: int
) -> tuple[float, float]:
    """95 % interval of the AUC under resampling of whole groups."""
    _, unit = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(unit == number) for number in range(unit.max() + 1)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(500):
        chosen = np.concatenate([members[number] for number in rng.integers(len(members), size=len(members))])
        values.append(auc(positive[chosen], [negative[place] for place in chosen]))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


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
