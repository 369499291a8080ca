"""Training and held-out data of a run, from a collection of videos and a method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from avssl.catalog.manifest import Manifest
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, Short
from avssl.data.loader import Batches, ClipLoader, InOrder, Steps
from avssl.data.mixture import Mixture
from avssl.data.transforms import ClipTransform
from avssl.evaluation.collapse import sample
from avssl.media.stores import make_stores, name_stores
from avssl.methods import Method
from avssl.runtime.checks import check_ranges
from avssl.runtime.seeds import key
from avssl.training.split import Changed, RunSplit, draw
from avssl.training.worlds import SYNTHETIC, open_root

tell = rank_zero_only(print)  # once for all processes of a run
ALONE = 64  # held-out videos that one process measures at once, if that's a batch, even if it trains on fewer


@dataclass(frozen=True)
class Datasets:
    """Items to train on, held-out items on which the pretext task is measured, the collection of both, its split.

    Attributes:
        mixed: for each collection of a mixture the ``[n]`` indices of its training items; empty without weights.
        weights: share of each in a batch.
    """

    training: ClipDataset
    held_out: ClipDataset
    videos: Manifest
    split: RunSplit
    mixed: tuple[np.ndarray, ...] = ()
    weights: tuple[float, ...] = ()

    def batches(
        self, batch_size: int, stop: int, seed: int, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> Steps | Mixture:
        """Return one rank's share of the ``stop`` batches of a run, of which ``accumulate`` make a step."""
        if self.mixed:
            return Mixture(self.mixed, self.weights, batch_size, stop, 0, seed, rank, world)
        return Steps(len(self.training), batch_size, stop, 0, seed, rank, world, accumulate)

    def __str__(self) -> str:
        dropped = self.training.dropped + self.held_out.dropped
        alone = self.training.alone + self.held_out.alone
        return (
            f"{len(self.training)} videos to train on, {len(self.held_out)} held out"
            + (f", {dropped} shorter than {self.training.sampler.seconds:.2f} s left out" if dropped else "")
            + (f", {alone} videos without another camera left out" if alone else "")
            + (f", {len(self.videos.rejected)} unreadable" if len(self.videos.rejected) else "")
        )


@dataclass
class Data:
    """The videos, and how they are read.

    Args:
        transform: augmentation of a clip's pixels.
        root: a folder of videos, a manifest (``.parquet``), a list of these, or a built-in world: ``synthetic``,
            ``synthetic_views`` with two cameras, ``synthetic_depth`` with depth maps, ``synthetic_sphere``, panoramas
            with spatial sound, ``synthetic_arena``, drives in arenas, ``synthetic_face``, talking faces, or
            ``synthetic_phone``, such faces filmed by a phone; ``synthetic:2000`` is one of 2000 videos.
        weights: share of each collection of ``root`` in a batch, such as [0.335, 0.1, 0.565]; by default every video
            counts alike (`avssl.data.Mixture`).
        batch_size: videos per batch, over all processes.
        repeats: clips of a batch that each video gives: it is decoded once, and transformed so many times. For methods
            that don't compare videos (VideoMAE).
        augment: where colours are changed: in the workers, or batch by batch on the device. The pixels are the same.
        workers: processes that read videos, per training process; 0 reads in the training process.
        held_out: share of the groups (of the videos, if there are no groups) on which the pretext task is measured.
        rounds: number of draws from each held-out video in the last measurement.
        short: treatment of videos that are too short for the method: drop or loop.
        backend: auto, pyav, decord or torchcodec.
        audio_rate: audio samples per second.
        timeout: seconds without an answer after which a worker counts as hanging.
        max_bad: largest share of unreadable videos before the run stops.
        labelled: share of the training videos per class whose label a semi-supervised method is given; all other
            methods are given none.
        share: share of the groups to train on (of the videos, if there are no groups) that are trained on; those of a
            smaller share are among those of a larger one, and the same videos are held out.
        changed: what a run that goes on does if its collection has changed: refuse, or extend its split, which draws
            among the new videos only.
        stores: object stores that may be read, by name; the settings of `avssl.media.stores.Store` below each.
        cache: folder for copies of objects that are read often; None keeps none. Doesn't change what is read.
        cache_gb: size of that folder in GB.
        memory_gb: GB of decoded recordings that each process keeps, for small collections of copies (lossless sound at
            ``audio_rate``, even frames). Doesn't change what is read.
    """

    transform: ClipTransform
    root: list[str] | str = SYNTHETIC
    weights: list[float] | None = None
    batch_size: int = 32
    repeats: int = 1
    augment: Literal["workers", "device"] = "workers"
    workers: int = 2
    held_out: float = 0.15
    rounds: int = 8
    short: Short = "drop"
    backend: str = "auto"
    audio_rate: int = 16000
    timeout: float = 300.0
    max_bad: float = 0.01
    labelled: float = 1.0
    changed: Changed = "refuse"
    stores: dict[str, Any] | None = None
    cache: str | None = None
    cache_gb: float = 100.0
    share: float = 1.0
    memory_gb: float = 0.0

    def __post_init__(self) -> None:
        check_ranges(
            "data",
            self,
            weights="(0, inf)",
            batch_size="[1, inf)",
            repeats="[1, inf)",
            workers="[0, inf)",
            held_out="(0, 1)",
            rounds="[1, inf)",
            audio_rate="[1, inf)",
            timeout="(0, inf)",
            max_bad="[0, 1]",
            labelled="[0, 1]",
            share="(0, 1]",
            cache_gb="(0, inf)",
            memory_gb="[0, inf)",
        )
        roots = [self.root] if isinstance(self.root, str) else self.root
        if self.weights is not None and len(self.weights) != len(roots):
            raise ValueError(
                f"data.weights has {len(self.weights)} numbers, data.root {len(roots)} collections: give each a weight"
            )
        name_stores(make_stores(self.stores), self.cache, self.cache_gb)

    def datasets(self, method: Method, seed: int, run: Path | None = None) -> Datasets:
        """Open the collection, hold out a share of it, and return the method's items of both parts.

        The method's sampler decides which seconds are read; labels are given to semi-supervised methods only
        (`Method.uses_labels`). Every item depends on ``seed``. The split is that of the ``run`` in a folder, if given.

        Raises:
            MediaError: if the collection can't be opened.
            ValueError: if one part would be empty, no video is long enough, or the collection isn't the run's.
        """
        collections = self.collections()
        videos = Manifest.concat(collections)
        kept = self.split(videos, run)
        common = (method.sampler, self.transform, method.labeller, self.audio_rate)
        trained, measured = parts(videos, kept.held_out)
        used = np.ones(len(trained), bool) if self.share == 1 else draw(trained.units(), self.share, seed=1)
        if not used.any():
            raise ValueError(f"data.share is {self.share}, which is none of {len(trained)} videos: raise it")
        trained = trained if used.all() else trained.select(np.flatnonzero(used))
        share, rest = self.labelled if method.uses_labels else 0.0, 1.0 if method.uses_labels else 0.0
        training = ClipDataset(
            trained,
            *common,
            seed,
            self.short,
            self.backend,
            share,
            self.repeats,
            self.augment == "workers",
            1e9 * self.memory_gb,
        )
        held_out = ClipDataset(measured, *common, seed + 1, self.short, self.backend, rest)
        method.check(training, held_out)
        if self.weights is None:
            return Datasets(training, held_out, videos, kept)
        lengths = [len(collection) for collection in collections]
        source = np.repeat(np.arange(len(lengths)), lengths)[~kept.held_out][used][training.kept]
        mixed = tuple(np.flatnonzero(source == number) for number in range(len(lengths)))
        return Datasets(training, held_out, videos, kept, mixed, tuple(self.weights))

    def split(self, videos: Manifest, run: Path | None = None) -> RunSplit:
        """Return the split that the run in a folder was begun with, or a new one."""
        if run is None:
            return RunSplit.of(videos, draw(videos.units(), self.held_out))
        before = RunSplit.read(run)
        if before is None:
            tell(f"note: {run} was begun by a version that kept no split: its collection must be as it was then")
            return self.split(videos)
        if self.changed == "refuse":
            before.check(videos, run)
        elif before.fingerprint != videos.fingerprint:
            after = before.extended(videos, self.held_out)
            tell(f"the collection has changed: {before.difference(videos)}; {after.held_out.sum()} held out")
            return after
        return before

    def open(self) -> Manifest:
        """Open the whole collection; a synthetic world is rendered on first use."""
        return Manifest.concat(self.collections())

    def collections(self) -> list[Manifest]:
        """Open each collection of ``root``."""
        roots = [self.root] if isinstance(self.root, str) else self.root
        return [open_root(root) for root in roots]


def split(videos: Manifest, share: float, seed: int = 0) -> tuple[Manifest, Manifest]:
    """Split a collection into training and held-out videos; no group (no file, without groups) is in both.

    A ``share`` of the groups is held out.

    Raises:
        ValueError: if one part would be empty.
    """
    return parts(videos, draw(videos.units(), share, seed))


def parts(videos: Manifest, held_out: np.ndarray) -> tuple[Manifest, Manifest]:
    """Return the videos to train on and those that are held out, by ``[N]`` bool.

    Raises:
        ValueError: if one part would be empty.
    """
    trained, measured = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not (len(trained) and len(measured)):
        raise ValueError(
            f"data.held_out leaves {len(trained)} of {len(videos)} videos to train on and {len(measured)} to measure "
            "on; both must be at least 1, in groups that are never split: change it, or use more videos"
        )
    return videos.select(trained), videos.select(measured)


class Loaders(L.LightningDataModule):
    """The batches of a run of ``steps`` steps, ``accumulate`` for each; some are done if it is ``begun``.

    Its ``folder`` records unreadable files, and keeps the split.
    """

    def __init__(
        self,
        data: Data,
        method: Method,
        steps: int,
        seed: int,
        folder: Path,
        begun: bool = False,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.data, self.steps, self.seed, self.folder, self.accumulate = data, steps, seed, folder, accumulate
        self.datasets = data.datasets(method, seed, folder if begun else None)

    @property
    def per_epoch(self) -> int:
        """The number of steps in an epoch."""
        return max(1, len(self.datasets.training) // (self.data.batch_size * self.accumulate))

    def train_dataloader(self) -> ClipLoader:
        """Return this rank's share of every batch of the run."""
        assert self.trainer is not None
        rank, world, passes = self.trainer.global_rank, self.trainer.world_size, self.accumulate
        batches = self.datasets.batches(self.data.batch_size, self.steps * passes, self.seed, rank, world, passes)
        return self._loader(self.datasets.training, batches, f"quarantine.rank{rank}.jsonl")

    def on_after_batch_transfer(self, batch: Clips, dataloader_idx: int) -> Clips:
        """Finish on the device what the workers have left of the transform."""
        if batch.drawn is None:
            return batch
        return replace(batch, video=self.data.transform.finish(batch.video, batch.drawn), drawn=None)

    def measuring(self, rounds: int, most: int | None = None) -> ClipLoader:
        """Return this rank's batches of held-out videos, ``rounds`` times with different draws each time.

        They are all, or ``most`` of them, chosen by the seed. Batches are as large as in training, over all ranks, but
        not much larger than what a rank trains on.
        """
        rank, world = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        videos, size = len(self.datasets.held_out), self.data.batch_size
        size = min(size, max(ALONE, size // world))
        chosen = None if most is None or most >= videos else tuple(sample(videos, most, key(self.seed)).tolist())
        batches = InOrder(videos, size, rounds, rank=rank, world=world, chosen=chosen)
        return self._loader(self.datasets.held_out, batches, f"quarantine.held_out{f'.rank{rank}' * (rank > 0)}.jsonl")

    def _loader(self, dataset: ClipDataset, batches: Batches, quarantine: str) -> ClipLoader:
        dataset.quarantine.keep_in(self.folder / quarantine)
        data, pin = self.data, torch.cuda.is_available()
        return ClipLoader(dataset, batches, data.workers, data.timeout, data.max_bad, pin_memory=pin)
