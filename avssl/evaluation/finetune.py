"""Supervised training on labelled clips: fine-tuning, the same from scratch, and probes of a frozen encoder.

The schedule is fixed in the protocol and nothing is chosen on test videos: there is no early stopping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from avssl.encoders import Encoder, begin_with, weights_hash
from avssl.encoders.transformer import Block
from avssl.evaluation.budget import Budget, Tuning
from avssl.evaluation.features import VIEWS_AT_ONCE, Normalise, ViewDataset
from avssl.evaluation.probes import draw_labels
from avssl.evaluation.readout import Scores, TooFewLabels
from avssl.evaluation.settings import digest, plain
from avssl.evaluation.splits import Fold
from avssl.evaluation.training_clips import Pixels
from avssl.evaluation.tuning import fit
from avssl.runtime.files import write_atomically
from avssl.runtime.processes import from_first, rank, tell, world

Start = Callable[[int], Encoder]  # seed -> the encoder to start from
CLIPS = 64  # that k-means begins with
SCORES = "scores.npy"  # of a fold that is done


class Classifier(nn.Module):
    """Any encoder with a linear layer on its features; everything is trained.

    Attributes:
        dropout: drops features in training; its probability is set by `prepare`.
        unit: whether features are scaled to unit length.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, classes)
        self.dropout = nn.Dropout(0.0)
        self.unit = False

    def features(self, clips: Tensor) -> Tensor:
        """Encode normalised clips ``[B, T, 3, H, W]``: ``[B, D]``."""
        return self.encoder(clips)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify normalised clips ``[B, T, 3, H, W]``: logits ``[B, K]``."""
        features = self.features(clips)
        return self.head(self.dropout(functional.normalize(features) if self.unit else features))


class FrozenClassifier(Classifier):
    """The same with a frozen encoder, which stays in eval mode: a linear probe on clips that are changed anew."""

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__(encoder.requires_grad_(False), classes)

    def train(self, mode: bool = True) -> FrozenClassifier:
        """Set the mode of everything but the encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, clips: Tensor) -> Tensor:
        """Encode normalised clips ``[B, T, 3, H, W]``: ``[B, D]``, without a gradient."""
        with torch.no_grad():
            return self.encoder(clips)


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


def prepare(model: nn.Module, recipe: Tuning) -> None:
    """Give a classifier what a recipe says of its layers.

    Raises:
        ValueError: if it has no such layers.
    """
    if isinstance(model, Classifier):
        model.dropout.p, model.unit = recipe.dropout, recipe.unit
    elif recipe.dropout or recipe.unit:
        raise ValueError(f"{type(model).__name__} has no recipe.dropout and no recipe.unit: leave them out")
    if recipe.head_std is not None:
        head = model.get_submodule("head")
        assert isinstance(head, nn.Linear)
        nn.init.trunc_normal_(head.weight, std=recipe.head_std, a=-2 * recipe.head_std, b=2 * recipe.head_std)
        nn.init.zeros_(head.bias)
    if recipe.drop_path is not None:
        _drop_paths(model.get_submodule("encoder"), recipe.drop_path)


def _drop_paths(encoder: nn.Module, rate: float) -> None:
    """Set the probability of skipping each block in training, rising linearly from 0 to ``rate``."""
    places = [part for part in encoder.modules() if isinstance(part, Block | StochasticDepth)]
    if not places:
        raise ValueError(f"{type(encoder).__name__} has no blocks that can be skipped: leave recipe.drop_path out")
    for number, part in enumerate(places):
        share = rate * number / max(1, len(places) - 1)
        if isinstance(part, Block):
            part.drop_path = share
        else:
            part.p = share


@dataclass(frozen=True)
class Supervised:
    """Read-out that trains a network on labelled clips: fine-tuning, from scratch, or a probe of a frozen encoder.

    With ``bank.folder``, a training that was stopped resumes exactly, and what a fold gave is kept there.

    Args:
        start: returns the encoder to start from for a seed.
        budget: schedule.
        seed: seed of the head, the order and the augmentation.
        shots: labels per class; None for all.
        classifier: `Classifier`, or `FrozenClassifier` or `AttentiveClassifier` for a frozen encoder.
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
        encoder = self.start(self.seed)
        folder = self.place(bank, encoder, rows)
        kept = None if folder is None else folder / f"{digest(list(fold.test))}-{SCORES}"
        if kept is not None and from_first(kept.exists(), fold.name):
            tell(f"{fold.name}: was done before the evaluation was stopped")
            return Scores(np.load(kept))
        values = predict(self.train(bank, encoder, rows), bank, fold.test)
        if kept is not None and rank() == 0:
            write_atomically(kept, lambda file: np.save(file, values))
        return Scores(values)

    def train(self, bank: Pixels, encoder: Encoder, rows: Sequence[int]) -> Classifier | AttentiveClassifier:
        """Train a classifier on some videos, and with it the encoder in place unless the classifier freezes it."""
        folder = self.place(bank, encoder, rows)
        if self.classifier is Classifier:
            begin_with(encoder, self.budget.initial, lambda: some_clips(bank, encoder, rows), self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self.classifier(encoder, bank.classes)
            prepare(model, self.budget.recipe)
        fit(model.to(bank.machine.target), bank, rows, self.budget, self.seed, folder)
        return model

    def place(self, bank: Pixels, encoder: Encoder, rows: Sequence[int]) -> Path | None:
        """Return the folder of a training, below ``bank.folder``; its name says all that decides the weights."""
        if bank.folder is None:
            return None
        facts = {
            "encoder": [weights_hash(encoder), encoder.card["mean"], encoder.card["std"]],
            "classifier": [self.classifier.__name__, bank.classes],
            "budget": plain(self.budget),
            "seed": self.seed,
            "videos": bank.videos.fingerprint,
            "labels": bank.labels[list(rows)].tolist(),
            "rows": list(rows),
            "views": plain(bank.views),
            "bfloat16": bank.machine.half,
        }
        return bank.folder / digest(facts)


def some_clips(pixels: Pixels, encoder: Encoder, rows: Sequence[int]) -> Tensor:
    """Return one normalised clip ``[B, T, 3, S, S]`` of each of up to 64 videos, spread evenly over ``rows``."""
    chosen = [rows[place * len(rows) // min(len(rows), CLIPS)] for place in range(min(len(rows), CLIPS))]
    shown = ViewDataset(pixels.videos, chosen, replace(pixels.views, clips=1, crops=1))
    normalise = Normalise.of(encoder, replace(pixels.machine, device="cpu"))
    return torch.cat([normalise(shown[place]) for place in range(len(chosen))])


@torch.inference_mode()
def predict(model: Classifier | AttentiveClassifier, pixels: Pixels, rows: Sequence[int]) -> NDArray[np.float32]:
    """Return class probabilities ``[len(rows), M, K]`` of the protocol's views.

    Several processes share the videos; a device that runs out of memory is given fewer views at once.
    """
    model.eval()
    views, machine, mean_std = pixels.views, pixels.machine, Normalise.of(model.encoder, pixels.machine)
    at_once, scores = VIEWS_AT_ONCE, []
    own = ViewDataset(pixels.videos, rows[rank() :: world()], views)
    for clips in machine.loader(own, max(1, VIEWS_AT_ONCE // views.count)):
        logits, at_once = _logits(lambda part: model(mean_std(part)), clips.flatten(0, 1), at_once, pixels)
        logits = logits.unflatten(0, (len(clips), views.count))
        scores.append((logits.softmax(2) if pixels.labels.ndim == 1 else logits.sigmoid()).cpu())
    found = torch.cat(scores or [torch.empty(0, views.count, pixels.classes)]).numpy()
    if world() == 1:
        return found
    parts: list[NDArray[np.float32]] = [found] * world()
    distributed.all_gather_object(parts, found)
    whole = np.empty((len(rows), *found.shape[1:]), dtype=np.float32)
    for place, part in enumerate(parts):
        whole[place :: world()] = part
    return whole


def _logits(model: Callable[[Tensor], Tensor], clips: Tensor, at_once: int, pixels: Pixels) -> tuple[Tensor, int]:
    """Return the logits of clips, and how many of them fit into the device's memory at once."""
    while True:
        try:
            with pixels.machine.autocast():
                return torch.cat([model(part).float() for part in clips.split(at_once)]), at_once
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise
        at_once //= 2
        tell(f"note: out of memory: {at_once} views at once")
