"""Metrics of the pretext task on held-out videos, and what is watched of the encoder's embedding of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avssl.data.loader import ClipLoader
from avssl.evaluation.collapse import monitors
from avssl.runtime.seeds import key
from avssl.training.module import Pretraining


class Measured(NamedTuple):
    """A metric on held-out videos: mean over videos, and the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class HeldOut(NamedTuple):
    """Metrics of the pretext task on held-out videos, and collapse monitors of the embedding."""

    metrics: dict[str, Measured]
    collapse: dict[str, float]


@torch.no_grad()
def held_out(module: Pretraining, loader: ClipLoader) -> HeldOut:
    """Measure the pretext task and collapse of the encoder on held-out videos, each loaded once or several times.

    Returns:
        For each metric its mean and 95 % interval, from 1000 bootstrap samples of videos (the clips of one video are
        not independent); and `avssl.evaluation.collapse.monitors` of the clips of the first round, empty if there is a
        single video.
    """
    training = module.training
    module.eval()
    values: dict[str, list[Tensor]] = {}
    features: list[Tensor] = []
    videos, seen = len(loader.dataset), 0
    with torch.random.fork_rng(devices=[]), module.trainer.precision_plugin.forward_context():
        for batch, clips in enumerate(loader):
            torch.manual_seed(key(module.seed, batch))
            normal = clips.to(module.device).normalised(module.mean, module.std)
            for name, value in module.method(normal).items():
                values.setdefault(name, []).append(value.float().expand(len(clips)))
            if seen < videos:  # the first round
                found = module.method.encoder(normal.video.flatten(0, 1)).unflatten(0, (len(clips), -1))  # [B, N, D]
                features.append(found[: videos - seen])
                seen += len(clips)
    module.train(training)
    metrics = {name: bootstrap(torch.cat(v).double().cpu().view(-1, videos).mean(0)) for name, v in values.items()}
    return HeldOut(metrics, monitors(torch.cat(features)) if videos > 1 else {})


def bootstrap(values: Tensor, samples: int = 1000) -> Measured:
    """Return the mean of ``[V]`` values and its 95 % bootstrap interval."""
    rng = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(values), (samples, len(values)), generator=rng)
    means = values[chosen].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return Measured(values.mean().item(), low, high)
