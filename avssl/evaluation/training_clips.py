"""Training clips of labelled videos: what is read, how it is changed, in which order, and by which process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avssl.catalog.manifest import Manifest
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Augment
from avssl.evaluation.budget import Budget
from avssl.evaluation.features import ViewDataset, Views
from avssl.media import VideoInfo, open_video
from avssl.runtime.device import Machine
from avssl.runtime.seeds import key
from avssl.runtime.workers import start_worker

POSITIONS = 10  # places in a video from which training clips are taken, spread evenly
SHIFT = 1 / 8  # largest shift of a training clip, as a share of its size


@dataclass(frozen=True)
class Pixels:
    """V labelled videos of K classes before any encoder: the bank of read-outs that train a network."""

    videos: Manifest
    labels: NDArray[np.signedinteger]  # [V], or [V, K] of 1 and -1
    classes: int  # K
    views: Views
    machine: Machine
    decoded: Tensor | None = None  # training clips from `decode_all`; None reads them from the files
    folder: Path | None = None  # where trainings that were stopped resume from; None keeps nothing

    @property
    def training_views(self) -> Views:
        """The clips that training draws from: more positions, the middle of the picture only."""
        return replace(self.views, clips=POSITIONS, crops=1)

    def decode_all(self, rows: Sequence[int]) -> Pixels:
        """Decode the training clips of some videos, unless they don't fit into ``machine.memory``.

        ``decoded`` is uint8 ``[V, 10, T, 3, H, W]``; other rows are left uninitialised.
        """
        views = self.training_views
        shape = (len(self.videos), views.clips, views.num_frames, 3, views.size, views.size)
        if math.prod(shape) > self.machine.memory:
            return self
        decoded = torch.empty(shape, dtype=torch.uint8)
        for row, pixels in zip(rows, self.machine.loader(ViewDataset(self.videos, rows, views)), strict=True):
            decoded[row] = pixels[0]
        return replace(self, decoded=decoded)


class Sample(NamedTuple):
    """Clips of B videos, R samples of each, with what `Augment.finish` is still to do."""

    video: Tensor  # [B, R, T, 3, H, W] uint8
    drawn: Tensor  # [B, D], on the CPU
    labels: Tensor  # [B], or [B, K] of 1 and -1

    def to(self, device: torch.device) -> Sample:
        """Move clips and labels to a device, without waiting for it if they are in pinned memory."""
        return Sample(self.video.to(device, non_blocking=True), self.drawn, self.labels.to(device, non_blocking=True))


class LabelledClips(Dataset[Sample]):
    """Training clips of labelled videos, each ``[R, T, 3, H, W]``, from (number of the sample, row).

    Without ``budget.augment`` they are shifted by up to an eighth of their size, with repeated edges. Position, shift,
    mirroring and all else depend on (seed, number, row) alone, and are the same for all frames of a clip.
    """

    def __init__(self, pixels: Pixels, budget: Budget, seed: int) -> None:
        self.pixels, self.views, self.budget, self.seed = pixels, pixels.training_views, budget, seed

    @cached_property
    def transform(self) -> Augment | None:
        """The second half of it is still to be done: `Augment.finish`."""
        augment, views = self.budget.augment, self.views
        return None if augment is None else augment.transform(views.size, self.budget.flip, views.fit == "squash")

    def __getitem__(self, item: tuple[int, int]) -> Sample:
        number, row = item
        label = torch.as_tensor(self.pixels.labels[row])
        if self.transform is None:
            return Sample(self._shifted(number, row), torch.empty(0), label)
        return Sample(*self._augmented(self.transform, number, row), label)

    def _shifted(self, number: int, row: int) -> Tensor:
        rng = np.random.default_rng([self.seed, number, row])
        place = int(rng.integers(POSITIONS))
        if self.pixels.decoded is not None:
            clip = self.pixels.decoded[row, place]
        else:
            info = self.pixels.videos[row]
            clip = self.views.read(info, self.views.times(info)[place : place + 1])[0]
        size, reach = self.views.size, round(SHIFT * self.views.size)
        samples = []
        for _ in range(self.budget.recipe.repeats):
            across, down = (
                torch.arange(size).add(int(rng.integers(-reach, reach + 1))).clamp(0, size - 1) for _ in "xy"
            )
            if rng.random() < self.budget.flip:
                across = across.flip(0)
            samples.append(clip[:, :, down[:, None], across])
        return torch.stack(samples)

    def _augmented(self, transform: Augment, number: int, row: int) -> tuple[Tensor, Tensor]:
        info = self.pixels.videos[row]
        seeds = self.seed, number, row
        times = random_times(self.views, info, torch.Generator().manual_seed(key(*seeds)))
        with open_video(info.path, info=info) as reader:
            frames = reader.frames(times, size=transform.decode_size(info.size))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(*seeds, 1))
            return transform.begin([frames] * self.budget.recipe.repeats)


def random_times(views: Views, info: VideoInfo, rng: torch.Generator) -> Tensor:
    """Draw the times ``[T]`` of a clip in seconds: one that begins anywhere, or with one frame from each T-th part.

    The second is for ``views.step: null``, whose clips are spread over the whole video (Wang et al., ECCV 2016, section
    3.1). Videos shorter than a clip are looped.
    """
    if views.step is None:
        shares = torch.rand(views.num_frames, generator=rng, dtype=torch.float64)
        return (torch.arange(views.num_frames) + shares) * info.duration / views.num_frames
    sampler = RandomClips(1, views.num_frames, views.step)
    if info.duration >= sampler.seconds:
        return sampler(info, rng).times[0]
    return sampler(replace(info, duration=sampler.seconds), rng).times[0] % info.duration


def batches(rows: Sequence[int], budget: Budget, steps: int, seed: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the (number of the sample, row) of each step's clips: one permutation of the videos after the other."""
    rng = np.random.default_rng([seed, len(rows)])
    waiting: list[int] = []
    for step in range(steps):
        while len(waiting) < budget.batch_size:
            waiting += rng.permutation(rows).tolist()
        yield [(step * budget.batch_size + place, row) for place, row in enumerate(waiting[: budget.batch_size])]
        del waiting[: budget.batch_size]


def share(size: int, rank: int, world: int) -> slice:
    """Return a process's part of a batch; neighbours (0 and 1, 2 and 3, ...), which may be mixed, stay together.

    Raises:
        ValueError: if there are not two clips for each process.
    """
    pairs = math.ceil(size / 2)
    if pairs < world:
        raise ValueError(f"batch_size is {size}: {world} processes need at least {2 * world}")
    return slice(2 * (pairs * rank // world), min(size, 2 * (pairs * (rank + 1) // world)))


class TrainingLoader:
    """This process's part of every batch of a training; a resumed one goes on where it was.

    Lightning keeps and restores its position with a checkpoint.
    """

    def __init__(self, dataset: LabelledClips, rows: Sequence[int], steps: int, rank: int = 0, world: int = 1) -> None:
        self.dataset, self.rows, self.steps = dataset, rows, steps
        self.part = share(dataset.budget.batch_size, rank, world)
        self.position = 0

    def __len__(self) -> int:
        """Return the number of batches of the whole training."""
        return self.steps

    def state_dict(self) -> dict[str, int]:
        """Return the position: the number of batches given out."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Start at the position of the loader that made ``state``."""
        self.position = state["position"]

    def __iter__(self) -> Iterator[Sample]:
        pixels, budget = self.dataset.pixels, self.dataset.budget
        machine, light = pixels.machine, self.dataset.transform is None and pixels.decoded is not None
        ordered = islice(batches(self.rows, budget, self.steps, self.dataset.seed), self.position, None)
        loader: DataLoader[Sample] = DataLoader(
            self.dataset,
            batch_sampler=(batch[self.part] for batch in ordered),
            num_workers=0 if light else machine.workers,  # shifting is cheap; workers would take cores
            pin_memory=machine.target.type == "cuda",
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # draws the workers' base seed without the global one
        )
        for batch in loader:
            self.position += 1
            yield batch
