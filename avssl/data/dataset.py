"""From videos on disk to the items of a batch. An item is a function of (seed, epoch, index) alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avssl.clips import Clips, ClipTimes
from avssl.data.collection import Collection, column, scenes
from avssl.data.kept import Kept
from avssl.data.quarantine import Quarantine, Unreadable
from avssl.data.samplers import ClipSampler, ViewSampler
from avssl.data.transforms import ClipTransform
from avssl.media import AudioClip, MediaError, VideoInfo, VideoReader
from avssl.media.source import SourceError
from avssl.media.stores import settings, use
from avssl.runtime.checks import check_ranges
from avssl.runtime.seeds import key

Short = Literal["drop", "loop"]
ATTEMPTS = 8  # videos tried for one item before the run is stopped


class Labeller(Protocol):
    """Pure function that makes a target from the pixels of clips; it runs in the process that decodes them."""

    def __call__(self, frames: Tensor, times: Tensor, info: VideoInfo) -> Tensor:
        """Map ``[N, T, 3, H, W]`` uint8 frames after the spatial transform and ``[N, T]`` seconds to ``[N, ...]``."""
        ...


class Item(NamedTuple):
    """Clips of one video, and the videos that could not be read in its place."""

    clips: Clips
    failures: list[Unreadable]


class ClipDataset(Dataset[Item]):
    """Read the seconds that a sampler draws.

    An item is a recording. With a `ViewSampler` it is a scene: the recordings of one ``group``, each with a different
    ``view``, which start at the same moment; a scene is as long as its shortest recording. If a scene has more cameras
    than the sampler needs, each item draws its own, numbered in the order of their names.

    Args:
        videos: the collection.
        sampler: draws the seconds to read.
        transform: applied to each clip separately.
        labeller: makes ``Clips.target`` from the transformed frames.
        audio_rate: sampling rate of ``Clips.audio`` in Hz.
        seed: determines all draws, together with epoch and index.
        short: ``"drop"`` leaves out videos shorter than ``sampler.seconds``, ``"loop"`` repeats them from the start.
        backend: see `avssl.media.open_video`.
        labelled: fraction of the videos of each class that keep their label (at least one, unless it is 0), drawn by
            the seed; ``Clips.label`` of the others is -1.
        repeats: rows of a batch that each video fills, with the same seconds in different transforms.
        finish: make the whole transform; otherwise `ClipTransform.finish` is left to whoever gets the items.
        memory: bytes of decoded recordings that each process keeps (`Kept`); doesn't change the items.

    Raises:
        ValueError: if ``labelled`` is not in [0, 1], ``repeats`` is below 1, no video is left, a camera has two
            recordings of one scene, or a labeller would be given an unfinished transform.

    Attributes:
        kept: ``[items]`` row of each item (the first camera's for a scene).
        dropped: number of recordings or scenes left out as too short.
        alone: number of recordings left out as their scene has too few cameras.
        labelled: ``[rows]`` bool, True if an item of this row has its label.
        quarantine: the videos that can't be read.
        channels: channels of the sound that an item has: the sampler's, or 1 for their mean.
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
        labelled: float = 1.0,
        repeats: int = 1,
        finish: bool = True,
        memory: float = 0.0,
    ) -> None:
        check_ranges("", {"labelled": labelled, "repeats": repeats}, labelled="[0, 1]", repeats="[1, inf)")
        if labeller is not None and not finish:
            raise ValueError(
                f"{type(labeller).__name__} makes its target of augmented pixels, in the workers: "
                "set data.augment to workers"
            )
        durations = np.asarray(column(videos, "duration"), dtype=np.float64)
        firsts = np.arange(len(durations))
        self.views, self.alone = 1, 0
        self.scenes: dict[int, list[int]] = {}  # rows of a scene's cameras, by the row of the first of them
        if isinstance(sampler, ViewSampler) and sampler.views > 1:
            self.views = sampler.views
            self.scenes = {rows[0]: rows for rows in scenes(videos, sampler.views)}
            self.alone = len(durations) - sum(map(len, self.scenes.values()))
            firsts = np.array(list(self.scenes), dtype=np.int64)
            durations = np.array([durations[rows].min() for rows in self.scenes.values()])
        kept = firsts if short == "loop" else firsts[durations >= sampler.seconds]
        if len(kept) == 0:
            longest = f"the longest lasts {durations.max():.2f} s" if len(durations) else "the collection is empty"
            raise ValueError(
                f"none of {len(durations)} videos is as long as the {sampler.seconds:.2f} s that "
                f"{type(sampler).__name__} needs: {longest}. Use fewer or closer frames, or set data.short to loop"
            )
        self.videos, self.kept, self.dropped = videos, kept, len(durations) - len(kept)
        self.sampler, self.transform, self.labeller = sampler, transform, labeller
        self.audio_rate, self.seed, self.short, self.backend = audio_rate, seed, short, backend
        self.repeats, self.finish, self.kept_open = repeats, finish, Kept(memory)
        self.channels: int = getattr(sampler, "channels", 1)
        self.labelled = np.full(len(videos), labelled > 0)
        if 0 < labelled < 1:
            self.labelled = some_of_each(column(videos, "label"), labelled, key(seed))
        self.quarantine = Quarantine(videos)
        self.stores = settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker process, which learns of the stores that may be read."""
        self.__dict__.update(state)
        use(self.stores)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        """Return the item of (epoch, index); an unreadable video is always replaced by the same other one."""
        epoch, index = item
        seed = key(self.seed, epoch, index)
        failures: list[Unreadable] = []
        for attempt in range(ATTEMPTS):
            place = index if attempt == 0 else key(self.seed, epoch, index, attempt) % len(self.kept)
            rows = self._cameras(int(self.kept[place]), seed)
            known = [self.quarantine.failures[row] for row in rows if row in self.quarantine]
            with torch.autocast("cpu", enabled=False):  # the caller's would apply in this process but not in workers
                read = known or self._read(rows, seed)
            if isinstance(read, Clips):
                return Item(replace(read, index=torch.full((len(read),), place)), failures)
            failures += read
        raise RuntimeError(
            f"{ATTEMPTS} videos in a row could not be read, the last being {failures[-1].message} "
            "Index the collection again to exclude damaged files"
        )

    def _cameras(self, first: int, seed: int) -> list[int]:
        """Return the rows that an item reads, one per camera."""
        rows = self.scenes.get(first, [first])
        if len(rows) == self.views:
            return rows
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(key(seed, 1)))
        return [rows[camera] for camera in sorted(drawn[: self.views].tolist())]

    def _read(self, rows: Sequence[int], seed: int) -> Clips | list[Unreadable]:
        """Return the clips of one item, or the recording that can't be read."""
        infos = [self.videos[row] for row in rows]
        info = infos[0]
        if len(infos) > 1:
            info = replace(info, duration=min(other.duration for other in infos))
        looped = self.short == "loop" and info.duration < self.sampler.seconds
        rng = torch.Generator().manual_seed(seed)
        drawn = self.sampler(replace(info, duration=self.sampler.seconds) if looped else info, rng)
        n = len(drawn.times)
        view = [0] * n if drawn.view is None else drawn.view.tolist()
        frames, sound = [torch.empty(0)] * n, [AudioClip(torch.empty(0), (0.0, 0.0))] * n
        row = rows[0]
        try:
            for camera, row in enumerate(rows):
                chosen = [clip for clip in range(n) if view[clip] == camera]
                if not chosen:
                    continue
                self.quarantine.mark(row)
                times = drawn.times[chosen].flatten()  # [clips * T]
                size = self.transform.decode_size(infos[camera].size)
                heard_as = None if drawn.audio is None else (self.audio_rate, self.channels)
                with self.kept_open.open(row, infos[camera], self.backend, size, heard_as) as reader:
                    shown = reader.frames(times % info.duration if looped else times, size)
                    heard = self._sound(reader, drawn, chosen, looped)
                for place, clip in enumerate(chosen):
                    frames[clip] = shown.unflatten(0, (len(chosen), -1))[place]  # [T, 3, h, w]
                    sound[clip] = heard[place] if heard else sound[clip]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)  # seeding all devices costs a millisecond
                made = [self._transformed(frames) for _ in range(self.repeats)]
            video, left = (stacked(parts) for parts in zip(*made, strict=True))
            target = None  # video is [repeats, N, T, 3, H, W]
            if self.labeller is not None:
                target = torch.stack([self.labeller(clips, drawn.times, info) for clips in video])
        except SourceError:
            raise  # no other video may take its place, or items would depend on the network
        except MediaError as error:
            return [Unreadable(row, self.videos[row].place, error.code, str(error))]
        finally:
            self.quarantine.mark(-1)
        audible = drawn.audio is not None
        label = info.label if info.label is not None and self.labelled[rows[0]] else -1

        def repeated(value: Tensor) -> Tensor:
            return value.expand(self.repeats, *value.shape)

        return Clips(
            video,
            repeated(drawn.times),
            repeated(torch.stack([clip.samples for clip in sound])) if audible else None,
            None if drawn.audio is None else repeated(drawn.audio),
            repeated(torch.tensor([clip.valid for clip in sound], dtype=torch.float64)) if audible else None,
            target,
            repeated(torch.tensor(label)),
            drawn=None if self.finish else left,
        )

    def _transformed(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``[N, T, 3, H, W]`` and the ``[D]`` numbers that its transform is yet to be finished by, if any."""
        video, drawn = self.transform.begin(clips)
        return (self.transform.finish(video[None], drawn[None])[0] if self.finish else video), drawn

    def _sound(
        self, reader: VideoReader, drawn: ClipTimes, chosen: Sequence[int], looped: bool
    ) -> list[AudioClip] | None:
        if drawn.audio is None:
            return None
        if looped:
            raise ValueError("data.short=loop repeats frames only; a method that uses sound needs data.short=drop")
        spans = drawn.audio[list(chosen)].tolist()
        return [reader.audio(start, stop, self.audio_rate, self.channels) for start, stop in spans]


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Stack tensors, without a copy if there is one."""
    return parts[0][None] if len(parts) == 1 else torch.stack(list(parts))


def some_of_each(labels: Sequence[Any], share: float, seed: int) -> np.ndarray:
    """Choose the rows that keep their label, ``[rows]`` bool, from ``[rows]`` classes; None is never chosen.

    It is the same fraction (above 0) of every class, rounded, but at least one.
    """
    counts = Counter(label for label in labels if label is not None)
    left = {label: max(1, round(share * count)) for label, count in counts.items()}
    chosen = np.zeros(len(labels), bool)
    for row in torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist():
        if left.get(labels[row], 0):
            left[labels[row]] -= 1
            chosen[row] = True
    return chosen


def collate(items: Sequence[Item]) -> tuple[Clips, list[Unreadable]]:
    """Join items to a batch of ``len(items)`` videos, and list all videos that could not be read."""
    values: dict[str, Any] = {}
    for name in Clips.__dataclass_fields__:
        parts = [getattr(item.clips, name) for item in items]
        values[name] = None if parts[0] is None else torch.cat(parts)
    return Clips(**values), [failure for item in items for failure in item.failures]
