"""Encoders of runs that are still going, and of runs that have not begun."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from avssl.encoders import Encoder, load_encoder, save_encoder
from avssl.encoders.export import WEIGHTS
from avssl.recipe.checkpoints import VerifiedCheckpoints, latest
from avssl.training.config import parse
from avssl.training.data import Data
from avssl.training.lineage import lineage
from avssl.training.module import statistics

PARTS = ("average.networks.encoder.", "method.encoder.")  # of a checkpoint, the one to prefer first


def snapshot(words: Sequence[str], folder: Path, run: Path | None = None) -> Encoder:
    """Export the encoder of a config to a folder, as a run that ended now would, and return it.

    Args:
        words: a config and overrides, as for ``avssl train``.
        folder: where to write.
        run: folder of the run, whose last checkpoint gives the weights; None for the untrained network.

    Raises:
        FileNotFoundError: if the run has no checkpoint.
    """
    if run is not None and (run / "encoder" / WEIGHTS).exists():  # the run is complete
        return load_encoder(run)
    made, config = parse(words)
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    data: Data = built.data
    encoder: Encoder = built.method.encoder
    steps = 0
    if run is not None:
        checkpoint = latest(run / "checkpoints")
        if checkpoint is None:
            raise FileNotFoundError(f"{run / 'checkpoints'}: no checkpoint there")
        state = VerifiedCheckpoints().load_checkpoint(checkpoint)["state_dict"]
        part = next(part for part in PARTS if any(name.startswith(part) for name in state))
        encoder.load_state_dict({name[len(part) :]: state[name] for name in state if name.startswith(part)})
        steps = int(checkpoint.stem[5:])
    shown = data.datasets(built.method, config.seed, run)
    mean, std = statistics(encoder)
    size = data.transform.size
    who = "untrained" if run is None else type(built.method).__name__
    card = {"run": config.name, "method": who, "steps": steps, "seed": config.seed, "mean": mean, "std": std}
    save_encoder(encoder, folder, {**card, "size": (size, size), **lineage(encoder, shown.held_out)})
    return load_encoder(folder)
