"""Attentive probe on stored tokens: a query reads the maps of a frozen encoder, with several schedules at once.

A. Bardes et al.: Revisiting Feature Prediction for Learning Visual Representations from Video (V-JEPA), 2024: a block
of cross-attention. M. Assran et al.: V-JEPA 2, 2025: three blocks of self-attention before it, and twenty probes of
other learning rates and weight decays that are trained at once, of which the best is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders.transformer import Block, initialise
from avssl.encoders.vit import space_time_code
from avssl.evaluation.blocks import blocks
from avssl.evaluation.choosing import choose
from avssl.evaluation.reading import Grid
from avssl.evaluation.readout import Bank, Floats, Ints, Labelled, Scores
from avssl.evaluation.splits import Fold
from avssl.runtime.checks import check_ranges

Schedule = tuple[float, float]  # peak learning rate, weight decay
EPSILON = 1e-6  # least deviation of a channel that is scaled


@dataclass(frozen=True)
class Tokens(Labelled):
    """Maps of videos, averaged on a grid: features are ``[V, M, t h w D]``, channel fastest.

    Attributes:
        bank: features, labels and groups.
        grid: (t, h, w).
        placed: the encoder's maps carry the positions of their tokens, as a transformer's do.
    """

    bank: Bank
    grid: Grid
    placed: bool

    @property
    def labels(self) -> np.ndarray:  # noqa: D102
        return self.bank.labels

    @property
    def groups(self) -> Ints:
        """Groups of the bank."""
        return self.bank.groups

    @property
    def width(self) -> int:
        """D."""
        return self.bank.features.shape[2] // math.prod(self.grid)


class AttentiveHead(nn.Module):
    """Self-attention among the tokens, if any, then cross-attention of one learned query, an MLP and a linear layer."""

    def __init__(self, width: int, classes: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth - 1))
        self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.apply(initialise)
        self.head = nn.Linear(width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Classify ``[B, L, D]``: logits ``[B, K]``.

        With one query, keys and values of all tokens need not be computed: the query goes through the keys' weights,
        and the weighted means of tokens through the values'.
        """
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm1(tokens)
        width, parts = tokens.shape[2], tokens.shape[2] // self.heads
        asked = self.query.view(self.heads, 1, parts) @ self.key.weight.view(self.heads, parts, width)  # [heads, 1, D]
        weights = (tokens @ asked[:, 0].T / math.sqrt(parts)).softmax(1)  # [B, L, heads]
        means = weights.transpose(1, 2) @ tokens  # [B, heads, D]
        read = torch.einsum("bhd,hpd->bhp", means, self.value.weight.view(self.heads, parts, width)).flatten(1)
        found = self.query + self.out(read + self.value.bias)
        return self.head(self.norm3(found + self.mlp(self.norm2(found))))


@dataclass(frozen=True)
class AttentiveProbe:
    """Attention of a learned query to the maps of the frozen encoder; all schedules are trained at once.

    The encoder sees each view once, without augmentation. Channels are standardised by the training videos. Positions
    in time, height and width are added where the encoder's maps carry none.

    Args:
        grid: cells in time, height and width that maps are averaged on; None takes maps as they are.
        frames: frames of one clip spread over the whole video, instead of the protocol's clips; None takes those, each
            on its own.
        blocks: 1 for cross-attention alone, 4 for three blocks of self-attention before it.
        heads: attention heads, a divisor of the encoder's width.
        lrs: peak learning rates.
        weight_decays: weight decays. Each pair is a candidate; the best is chosen by inner folds of training videos.
        epochs: passes over the training views.
        batch_size: views per step.
        inner_folds: number of parts of the training videos, with groups whole.
        rounds: number of these parts that are held out in turn; with 1, a single part decides.
        seed: seed of weights and order.
    """

    grid: Grid | None = None
    frames: int | None = None
    blocks: int = 1
    heads: int = 8
    lrs: tuple[float, ...] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
    weight_decays: tuple[float, ...] = (0.01, 0.1, 0.4, 0.8)
    epochs: int = 20
    batch_size: int = 256
    inner_folds: int = 3
    rounds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("grid", "frames", "blocks", "heads", "epochs", "batch_size", "rounds"), "[1, inf)")
        check_ranges("attentive_probe", self, **counts, lrs="(0, inf)", weight_decays="[0, inf)")
        check_ranges("attentive_probe", self, inner_folds="[2, inf)", seed="[0, inf)")

    def scores(self, bank: Tokens, fold: Fold) -> Scores:
        """Return class probabilities, and the chosen learning rate and weight decay."""
        if bank.width % self.heads:
            fits = max(heads for heads in range(1, self.heads) if bank.width % heads == 0)
            raise ValueError(
                f"attentive_probe.heads is {self.heads}, which does not divide the encoder's width of {bank.width}: "
                f"take {fits}"
            )
        schedules = list(product(self.lrs, self.weight_decays))
        chosen = choose(schedules, bank, fold, self.inner_folds, self.candidates, self.rounds)
        return Scores(next(self.candidates(bank, fold.train, fold.test, [chosen])), list(chosen))

    def candidates(
        self, bank: Tokens, train: Sequence[int], test: Sequence[int], schedules: Sequence[Schedule]
    ) -> Iterator[Floats]:
        """Train a head by each schedule, all on the same batches; yield class probabilities ``[V_test, M, K]``."""
        prepare = _Prepare(bank, train)
        heads = self._heads(bank, len(schedules))
        optimiser = torch.optim.AdamW(
            [
                {"params": list(head.parameters()), "lr": lr, "weight_decay": decay, "peak": lr}
                for head, (lr, decay) in zip(heads, schedules, strict=True)
            ]
        )
        labels = torch.from_numpy(bank.labels)
        batches = list(self._batches(train, bank.bank.features.shape[1]))
        for step, rows in enumerate(batches):
            for group in optimiser.param_groups:  # cosine decay to zero, without warm-up
                group["lr"] = group["peak"] * (1 + math.cos(math.pi * step / len(batches))) / 2
            tokens, marks = prepare(rows), labels[rows].repeat_interleave(bank.bank.features.shape[1], 0)
            with _autocast(tokens):
                logits = torch.stack([head(tokens) for head in heads]).float()  # [S, B, K]
            loss = _loss(logits, marks.to(logits.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        yield from self._predict(heads, prepare, bank, test)

    def _heads(self, bank: Tokens, count: int) -> nn.ModuleList:
        """Return heads that begin with the same weights."""
        heads = []
        with torch.random.fork_rng(devices=[]):
            for _ in range(count):
                torch.manual_seed(self.seed)
                heads.append(AttentiveHead(bank.width, bank.bank.classes, self.heads, self.blocks))
        return nn.ModuleList(heads).to(bank.bank.device)

    def _batches(self, train: Sequence[int], views: int) -> Iterator[list[int]]:
        """Yield the videos of each step, with all their views; every epoch in a new order, the last batch smaller."""
        rng, size = np.random.default_rng([self.seed, len(train)]), max(1, self.batch_size // views)
        for _ in range(self.epochs):
            order = rng.permutation(train)
            yield from (np.sort(order[start : start + size]).tolist() for start in range(0, len(order), size))

    @torch.inference_mode()
    def _predict(self, heads: nn.ModuleList, prepare: _Prepare, bank: Tokens, test: Sequence[int]) -> Iterator[Floats]:
        views, size = bank.bank.features.shape[1], max(1, self.batch_size // bank.bank.features.shape[1])
        found: list[list[Tensor]] = [[] for _ in heads]
        for start in range(0, len(test), size):
            tokens = prepare(list(test[start : start + size]))
            for kept, head in zip(found, heads, strict=True):
                with _autocast(tokens):
                    logits = head(tokens).float()
                kept.append((logits.softmax(1) if bank.labels.ndim == 1 else logits.sigmoid()).cpu())
        for kept in found:
            yield torch.cat(kept).unflatten(0, (-1, views)).numpy()


class _Prepare:
    """Tokens ``[n M, L, D]`` of some videos: standardised by channel, with positions where the maps carry none."""

    def __init__(self, bank: Tokens, train: Sequence[int]) -> None:
        self.bank, self.width = bank.bank, bank.width
        total = square = torch.zeros(bank.width, dtype=torch.float64, device=bank.bank.device)
        count = 0
        for _, x in blocks(bank.bank, train):
            x = x.reshape(-1, bank.width).double()
            count, total, square = count + len(x), total + x.sum(0), square + x.square().sum(0)
        self.mean = (total / count).float()
        deviation = (square / count - (total / count).square()).clamp_min(0).sqrt().float()
        self.std = torch.where(deviation > EPSILON * (self.mean.abs() + EPSILON), deviation, 1.0)
        code = space_time_code(bank.grid, bank.width, bank.bank.device)
        self.code = torch.zeros_like(code) if bank.placed else code

    def __call__(self, rows: Sequence[int]) -> Tensor:
        tokens = torch.cat([x for _, x in blocks(self.bank, rows)]).unflatten(1, (-1, self.width))
        return (tokens - self.mean) / self.std + self.code


def _loss(logits: Tensor, marks: Tensor) -> Tensor:
    """Return the sum over heads of the mean cross-entropy; with several classes, of the mean over known marks."""
    if marks.ndim == 1:
        return sum(F.cross_entropy(each, marks) for each in logits)  # type: ignore[return-value]
    known, shown = (marks != 0).float(), (marks > 0).float()
    every = F.binary_cross_entropy_with_logits(logits, shown.expand_as(logits), reduction="none") * known
    return every.sum() / known.sum().clamp_min(1)


def _autocast(tokens: Tensor) -> torch.autocast:
    return torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.device.type == "cuda")
