"""Videos on disk to items of a batch. An item is a function of (seed, epoch, index) and of nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import ClipSampler
from avssl.data.transforms import ClipTransform
from avssl.media import AudioClip, MediaError, VideoInfo, VideoReader, open_video

Short = Literal["drop", "loop"]
ATTEMPTS = 8  # replacements tried for one bad item before the run is stopped


class Collection(Protocol):
    """What the dataset needs of a manifest."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoInfo: ...


class Labeller(Protocol):
    """A target made from the pixels of a clip: a pure function, run where the frames are decoded."""

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """``[N, T, 3, H, W]`` uint8 frames after the spatial transform and ``[N, T]`` seconds to ``[N, ...]``."""
        ...


class Failure(NamedTuple):
    """A video that could not be read: which row of the collection, which file, and why."""

    row: int
    path: str
    code: str
    message: str


class Item(NamedTuple):
    """One video's clips, and the videos that failed before it was found."""

    clips: Clips
    failures: list[Failure]


def key(*numbers: int) -> int:
    """A 63-bit seed that depends on every one of ``numbers`` (each at least 0)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class ClipDataset(Dataset[Item]):
    """Reads the seconds that a sampler asks for.

    Args:
        videos: the collection.
        sampler: which seconds to read.
        transform: applied to each clip on its own.
        labeller: makes ``Clips.target`` from the transformed frames.
        audio_rate: samples a second of ``Clips.audio``.
        seed: with the epoch and the index, decides everything that is drawn.
        short: what becomes of videos shorter than ``sampler.seconds``: ``"drop"`` leaves them out (``dropped`` counts
            them), ``"loop"`` plays them again from the start.
        backend: see `avssl.media.open_video`.

    Raises:
        ValueError: where no video is left.
    """

    def __init__(
        self,
        videos: Collection,
        sampler: ClipSampler,
        transform: ClipTransform,
        labeller: Labeller | None = None,
        audio_rate: int = 16000,
        seed: int = 0,
        short: Short = "drop",
        backend: str = "auto",
    ) -> None:
        durations = _durations(videos)
        kept = np.arange(len(durations)) if short == "loop" else np.flatnonzero(durations >= sampler.seconds)
        if len(kept) == 0:
            longest = f"the longest lasts {durations.max():.2f} s" if len(durations) else "the collection is empty"
            raise ValueError(
                f"none of {len(durations)} videos is as long as the {sampler.seconds:.2f} s that "
                f"{type(sampler).__name__} needs: {longest}. Ask for fewer or closer frames, or set data.short to loop"
            )
        self.videos, self.kept, self.dropped = videos, kept, len(durations) - len(kept)
        self.sampler, self.transform, self.labeller = sampler, transform, labeller
        self.audio_rate, self.seed, self.short, self.backend = audio_rate, seed, short, backend
        self.quarantined: dict[int, Failure] = {}  # by row of the collection; not tried again
        self.in_flight: Tensor | None = None  # [workers, 3] row, pid, start (ns): shared with the loader's watchdog

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        """The item of (epoch, index); a video that can't be read is replaced by another, the same one every time."""
        epoch, index = item
        failures: list[Failure] = []
        for attempt in range(ATTEMPTS):
            row = int(self.kept[index if attempt == 0 else key(self.seed, epoch, index, attempt) % len(self.kept)])
            if row in self.quarantined:
                failures.append(self.quarantined[row])
                continue
            info = self.videos[row]
            self._mark(row)
            try:
                return Item(self._read(info, key(self.seed, epoch, index)), failures)
            except MediaError as error:
                failures.append(Failure(row, str(info.path), error.code, str(error)))
            finally:
                self._mark(-1)
        raise RuntimeError(
            f"{ATTEMPTS} videos in a row could not be read, the last being {failures[-1].message} "
            "Index the collection again to sort the damaged files out"
        )

    def _read(self, info: VideoInfo, seed: int) -> Clips:
        rng = torch.Generator().manual_seed(seed)
        looped = self.short == "loop" and info.duration < self.sampler.seconds
        drawn = self.sampler(replace(info, duration=self.sampler.seconds) if looped else info, rng)
        n, t = drawn.frames.shape
        with open_video(info.path, self.backend, info=info) as reader:
            wanted = drawn.frames.flatten()  # [N * T]
            frames = reader.frames(wanted % info.duration if looped else wanted, self.transform.decode_size(info.size))
            sound = self._sound(reader, drawn, info, looped)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            video = torch.stack([self.transform(clip) for clip in frames.unflatten(0, (n, t))])  # [N, T, 3, H, W]
        target = None if self.labeller is None else self.labeller(video, drawn.frames, info)
        return Clips(
            video[None],
            drawn.frames[None],
            None if sound is None else torch.stack([clip.samples for clip in sound])[None],
            None if drawn.audio is None else drawn.audio[None],
            None if sound is None else torch.tensor([clip.valid for clip in sound], dtype=torch.float64)[None],
            None if target is None else target[None],
            torch.tensor([-1 if info.label is None else info.label]),
        )

    def _sound(self, reader: VideoReader, drawn: ClipTimes, info: VideoInfo, looped: bool) -> list[AudioClip] | None:
        if drawn.audio is None:
            return None
        if looped:
            raise ValueError("data.short=loop repeats pictures only; a method that listens needs data.short=drop")
        return [reader.audio(start, stop, self.audio_rate) for start, stop in drawn.audio.tolist()]

    def _mark(self, row: int) -> None:
        worker = get_worker_info()
        if self.in_flight is not None and worker is not None:
            self.in_flight[worker.id] = torch.tensor([row, os.getpid(), time.monotonic_ns()])


def collate(items: Sequence[Item]) -> tuple[Clips, list[Failure]]:
    """Items to a batch of ``len(items)`` videos, and all failures on the way to it."""
    clips = [item.clips for item in items]
    values: dict[str, Any] = {}
    for name in Clips.__dataclass_fields__:
        parts = [getattr(clip, name) for clip in clips]
        values[name] = None if parts[0] is None else torch.cat(parts)
    return Clips(**values), [failure for item in items for failure in item.failures]


def _durations(videos: Collection) -> np.ndarray:
    column = getattr(videos, "column", None)  # a manifest answers from its memory map
    if column is not None:
        return np.asarray(column("duration"), dtype=np.float64)
    return np.array([videos[index].duration for index in range(len(videos))], dtype=np.float64)
