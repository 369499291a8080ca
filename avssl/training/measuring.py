"""Metrics of the pretext task on held-out videos, and what is watched of the encoder's embedding of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from avssl.data.loader import ClipLoader, InOrder
from avssl.evaluation.collapse import ROWS, monitors, sample
from avssl.runtime.seeds import key
from avssl.training.module import Pretraining

FEW = 256  # held-out videos that are all measured while training, however short the run
LEAST = 128  # of more, at least these are measured while training
LEAST_AT_END = 1024  # at the end


class Measured(NamedTuple):
    """A metric on held-out videos: mean over videos, and the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """Metrics of the pretext task on some of the held-out videos, and collapse monitors of the embedding."""

    metrics: dict[str, Measured]
    collapse: dict[str, float]
    videos: int
    of: int


def affordable(held_out: int, trained: int, share: float) -> int:
    """Return how many of the held-out videos are measured after a number of others that are trained on.

    All if there are few of them, else as many as make a measurement ``share`` of that training, but at least 128. A
    measured video is read once and passes the encoder twice, without a backward pass: it costs no more than one that is
    trained on. Numbers of videos stand for time, because a clock would give a resumed run other measurements.
    """
    return held_out if held_out <= FEW else min(held_out, max(LEAST, int(share * trained)))


def affordable_at_end(held_out: int, trained: int, share: float, rounds: int) -> int:
    """Return how many are measured at the end of a run, in rounds; the same rule, with all of up to 1024 videos."""
    return min(held_out, max(LEAST_AT_END, int(share * trained / rounds)))


@torch.no_grad()
def held_out(module: Pretraining, loader: ClipLoader) -> HeldOut | None:
    """Measure the pretext task and collapse of the encoder on held-out videos, each loaded once or several times.

    Every process measures its batches; all must call this.

    Returns:
        For each metric its mean and 95 % interval, from 1000 bootstrap samples of videos (the clips of one video are
        not independent); and `avssl.evaluation.collapse.monitors` of the clips of the first round, of at most 2048
        videos, empty if there is a single video. On processes other than the first, None.
    """
    training, batches = module.training, loader.batches
    assert isinstance(batches, InOrder)
    module.eval()
    watched = torch.zeros(batches.visited, dtype=torch.bool)
    watched[sample(batches.visited, ROWS)] = True
    found: dict[int, tuple[dict[str, Tensor], Tensor]] = {}  # of each batch, by its number
    with torch.random.fork_rng(devices=[]), module.trainer.precision_plugin.forward_context():
        for number, clips in zip(batches.numbers, loader, strict=True):
            torch.manual_seed(key(module.seed, number))
            normal = clips.to(module.device).normalised(module.mean, module.std)
            out = {name: value.float().expand(len(clips)).cpu() for name, value in module.method(normal).items()}
            first = watched[number * batches.batch_size :][: len(clips)]  # [<= B] bool, of the first round
            features = torch.empty(0)
            if (number - batches.rank) * batches.batch_size < batches.visited:  # as the other processes do
                features = module.method.encoder(normal.video.flatten(0, 1)).unflatten(0, (len(clips), -1)).cpu()
                features = features[: len(first)][first]  # [<= B, N, D], perhaps none
            if number < batches.total:
                found[number] = out, features
    module.train(training)
    everything = _together(found, batches.world)
    if everything is None:
        return None
    parts = [everything[number] for number in sorted(everything)]
    rows = {name: torch.cat([out[name] for out, _ in parts]).double() for name in parts[0][0]}
    metrics = {name: bootstrap(values.view(-1, batches.visited).mean(0)) for name, values in rows.items()}
    seen = torch.cat([features for _, features in parts if features.ndim == 3])
    collapse = monitors(seen.to(module.device)) if len(seen) > 1 else {}
    return HeldOut(metrics, collapse, batches.visited, batches.videos)


def _together(found: dict[int, Any], world: int) -> dict[int, Any] | None:
    """Return what all processes found, on the first; None on the others."""
    if world == 1:
        return found
    parts: list[Any] | None = [None] * world if distributed.get_rank() == 0 else None
    distributed.gather_object(found, parts)
    return None if parts is None else {number: value for part in parts for number, value in part.items()}


def bootstrap(values: Tensor, samples: int = 1000) -> Measured:
    """Return the mean of ``[V]`` values and its 95 % bootstrap interval."""
    rng = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(values), (samples, len(values)), generator=rng)
    means = values[chosen].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Measured(values.mean().item(), low, high)
