"""Supervised training on labelled clips: fine-tuning, the same from scratch, and the attentive probe.

The schedule is fixed in the protocol and nothing is chosen on test videos: there is no early stopping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.features import VIEWS_AT_ONCE, Normalise, ViewDataset, Views
from avssl.evaluation.probes import draw_labels
from avssl.evaluation.readout import Scores, TooFewLabels
from avssl.evaluation.splits import Fold
from avssl.runtime.checks import check_ranges
from avssl.runtime.device import Machine
from avssl.runtime.workers import start_worker

Start = Callable[[int], Encoder]  # seed -> the encoder to start from
POSITIONS = 10  # places in a video from which training clips are taken, spread evenly
SHIFT = 1 / 8  # largest shift of a training clip, as a share of its size


@dataclass(frozen=True)
class Budget:
    """Training schedule of a classifier: AdamW, linear warm-up, cosine decay to zero.

    Args:
        steps: optimiser steps, whatever the number of labels.
        batch_size: clips per step.
        lr: peak learning rate.
        weight_decay: weight decay of AdamW.
        warmup: share of the steps spent on warm-up.
        flip: probability of mirroring a training clip. Leave it at 0 if left and right tell any classes apart.
        seeds: runs of every fold, which differ in the head, the order and the shifts.
        folds: number of folds to run, spread evenly over them; None for all.
    """

    steps: int = 100
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    flip: float = 0.0
    seeds: int = 1
    folds: int | None = None

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("steps", "batch_size", "seeds", "folds"), "[1, inf)")
        check_ranges("", self, **counts, lr="(0, inf)", weight_decay="[0, inf)", warmup="[0, 1]", flip="[0, 1]")


class Classifier(nn.Module):
    """Any encoder with a linear head on its features; everything is trained."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify normalised clips ``[B, T, 3, H, W]``: logits ``[B, K]``."""
        return self.head(self.encoder(clips))


class AttentiveClassifier(nn.Module):
    """Cross-attention of one learned query to the maps of a frozen encoder (Bardes et al., 2024, section 4).

    The encoder stays in eval mode and gets no gradient.
    """

    def __init__(self, encoder: Encoder, classes: int, heads: int = 8) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        width = encoder.num_features
        self.query = nn.Parameter(torch.randn(1, 1, width) / math.sqrt(width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Linear(width, classes)

    def train(self, mode: bool = True) -> AttentiveClassifier:
        """Set the mode of everything but the encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        """Classify normalised clips ``[B, T, 3, H, W]``: logits ``[B, K]``."""
        with torch.no_grad():
            tokens = rearrange(self.encoder.maps(clips), "b d t h w -> b (t h w) d")
        tokens = self.norm(tokens.float())
        read, _ = self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)
        return self.head(read[:, 0])


@dataclass(frozen=True)
class Pixels:
    """V labelled videos of K classes before any encoder: the bank of read-outs that train a network."""

    videos: Manifest
    labels: NDArray[np.signedinteger]  # [V], or [V, K] of 1 and -1
    classes: int  # K
    views: Views
    machine: Machine
    decoded: Tensor | None = None  # training clips from `decode_all`; None reads them from the files

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


@dataclass(frozen=True)
class Supervised:
    """Read-out that trains a network on labelled clips: fine-tuning, from scratch, or the attentive probe.

    Args:
        start: returns the encoder to start from for a seed.
        budget: schedule.
        seed: seed of the head, the order and the augmentation.
        shots: labels per class; None for all.
        classifier: `Classifier`, or `AttentiveClassifier` for a frozen encoder.
    """

    start: Start
    budget: Budget
    seed: int = 0
    shots: int | None = None
    classifier: type[Classifier | AttentiveClassifier] = Classifier

    def scores(self, bank: Pixels, fold: Fold) -> Scores:
        """Return class probabilities."""
        rows = fold.train if self.shots is None else draw_labels(bank.labels, fold, self.shots, self.seed)
        if rows is None:
            raise TooFewLabels(f"{fold.name}: a class has too few training videos")
        return Scores(predict(self.train(bank, self.start(self.seed), rows), bank, fold.test))

    def train(self, bank: Pixels, encoder: Encoder, rows: Sequence[int]) -> Classifier | AttentiveClassifier:
        """Train a classifier on some videos, and with it the encoder in place unless the classifier freezes it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.classifier(encoder, bank.classes).to(bank.machine.target)
        fit(model, bank, rows, self.budget, self.seed)
        return model


class LabelledClips(Dataset[tuple[Tensor, Tensor]]):
    """Training clips of labelled videos, shifted by up to an eighth of their size with repeated edges.

    Position, shift and mirroring (with probability ``flip``) depend on (seed, step, row) alone, and are the same for
    all frames of a clip.
    """

    def __init__(self, pixels: Pixels, flip: float, seed: int) -> None:
        self.pixels, self.views, self.flip, self.seed = pixels, pixels.training_views, flip, seed

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor]:
        step, row = item
        rng = np.random.default_rng([self.seed, step, row])
        place = int(rng.integers(POSITIONS))
        if self.pixels.decoded is not None:
            clip = self.pixels.decoded[row, place]
        else:
            info = self.pixels.videos[row]
            clip = self.views.read(info, self.views.times(info)[place : place + 1])[0]
        size, reach = self.views.size, round(SHIFT * self.views.size)
        across, down = (torch.arange(size).add(int(rng.integers(-reach, reach + 1))).clamp(0, size - 1) for _ in "xy")
        if rng.random() < self.flip:
            across = across.flip(0)
        return clip[:, :, down[:, None], across], torch.as_tensor(self.pixels.labels[row])


def fit(
    model: Classifier | AttentiveClassifier, pixels: Pixels, rows: Sequence[int], budget: Budget, seed: int
) -> list[float]:
    """Train a classifier on some videos and return the loss of every step.

    The loss is the cross-entropy over classes; with several classes per video, the mean of that of each class.
    ``seed`` decides the order and the augmentation; torch's global random numbers are drawn only by the data loader.
    """
    machine, mean_std = pixels.machine, Normalise.of(model.encoder, pixels.machine)
    loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
        LabelledClips(pixels, budget.flip, seed),
        batch_sampler=list(_batches(rows, budget, seed)),
        num_workers=machine.workers if pixels.decoded is None else 0,  # shifting is cheap; workers would take cores
        worker_init_fn=start_worker,
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=budget.lr, weight_decay=budget.weight_decay)
    warmup = max(1, round(budget.warmup * budget.steps))
    losses = []
    model.train()
    for step, (clips, labels) in enumerate(loader):
        left = max(0, step - warmup) / max(1, budget.steps - warmup)
        optimiser.param_groups[0]["lr"] = budget.lr * min(1.0, (step + 1) / warmup) * (1 + math.cos(math.pi * left)) / 2
        with machine.autocast():
            logits = model(mean_std(clips))
        logits, labels = logits.float(), labels.to(logits.device)
        if labels.ndim == 1:
            loss = functional.cross_entropy(logits, labels)
        else:
            loss = functional.binary_cross_entropy_with_logits(logits, (labels > 0).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@torch.inference_mode()
def predict(model: Classifier | AttentiveClassifier, pixels: Pixels, rows: Sequence[int]) -> NDArray[np.float32]:
    """Return class probabilities ``[len(rows), M, K]`` of the protocol's views."""
    model.eval()
    views, machine, mean_std = pixels.views, pixels.machine, Normalise.of(model.encoder, pixels.machine)
    scores = []
    for clips in machine.loader(ViewDataset(pixels.videos, rows, views), max(1, VIEWS_AT_ONCE // views.count)):
        with machine.autocast():
            logits = torch.cat([model(mean_std(part)) for part in clips.flatten(0, 1).split(VIEWS_AT_ONCE)])
        logits = logits.float().unflatten(0, (len(clips), views.count))
        scores.append((logits.softmax(2) if pixels.labels.ndim == 1 else logits.sigmoid()).cpu())
    return torch.cat(scores).numpy()


def _batches(rows: Sequence[int], budget: Budget, seed: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the (sample, row) of each step's clips: one permutation of the videos after the other."""
    rng = np.random.default_rng([seed, len(rows)])
    waiting: list[int] = []
    for step in range(budget.steps):
        while len(waiting) < budget.batch_size:
            waiting += rng.permutation(rows).tolist()
        yield [(step * budget.batch_size + place, row) for place, row in enumerate(waiting[: budget.batch_size])]
        del waiting[: budget.batch_size]
