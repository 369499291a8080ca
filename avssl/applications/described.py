"""Features of a whole collection, with labels or without: by encoders, the same networks untrained, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.nn.functional import adaptive_avg_pool2d

from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.extraction import extract_features
from avssl.evaluation.features import ViewDataset, Views
from avssl.evaluation.given import place
from avssl.evaluation.handmade import MotionEnergy
from avssl.evaluation.readout import Floats
from avssl.evaluation.record import random_init
from avssl.runtime.device import Machine
from avssl.runtime.progress import Tally

GRID = 8  # cells of a picture's thumbnail


@dataclass(frozen=True)
class Described:
    """Features of a collection.

    Attributes:
        name: of the run, the untrained network or the hand-made features.
        features: ``[V, D]`` means over a video's views, one per seed of an untrained network.
        baseline: whether they are what runs are compared with.
    """

    name: str
    features: Sequence[Floats]
    baseline: bool = False


def describe_collection(
    videos: Manifest,
    runs: Sequence[Path],
    views: Views,
    machine: Machine,
    seeds: Sequence[int] = (),
    encoder: Encoder | None = None,
) -> list[Described]:
    """Describe all videos by the encoder of each run, the first run's network untrained, and by hand.

    Raises:
        FileNotFoundError: if a run has no encoder.
        ValueError: if an encoder is given for several runs, or does not fit the views.
    """
    if encoder is not None and len(runs) != 1:
        raise ValueError(f"--encoder is exported to one run's folder, but {len(runs)} are given with --run")
    loaded = {
        run.resolve().name: load_encoder(run) if encoder is None else place(encoder, run, views.size) for run in runs
    }
    if len(loaded) < len(runs):
        raise ValueError("two of the runs have one name: results are by name; rename a folder")
    found = [Described(name, [means(each, videos, views, machine)]) for name, each in loaded.items()]
    network = next(iter(loaded.values()))
    fresh = [means(random_init(network, seed), videos, views, machine) for seed in seeds]
    if fresh:
        found.append(Described(f"untrained {type(network).__name__}", fresh, True))
    return [
        *found,
        Described(
            "motion energy" if views.num_frames > 1 else "thumbnail",
            [by_hand(videos, range(len(videos)), views, machine).mean(1)],
            True,
        ),
    ]


def means(encoder: Encoder, videos: Manifest, views: Views, machine: Machine) -> Floats:
    """Return the mean features ``[V, D]`` over each video's views, and over a frame encoder's segments."""
    found = extract_features(encoder, videos, range(len(videos)), views, machine)
    values = (
        found.mean(1)
        if isinstance(found, np.ndarray)
        else np.concatenate([part.mean(1) for _, part in found.blocks(range(len(videos)))])
    )
    return values.reshape(len(values), -1, encoder.num_features).mean(1) if encoder.per_frame else values


def by_hand(videos: Manifest, rows: Sequence[int], views: Views, machine: Machine) -> Floats:
    """Describe the views of some videos by hand, ``[R, M, D]``: motion energy in every difference of frames.

    Of single frames, it is a thumbnail of 8 x 8 colours instead.
    """
    if views.num_frames > 1:
        found = extract_features(MotionEnergy(), videos, rows, views, machine, grid=(views.num_frames - 1, 1, 1))
        return np.asarray(found[list(range(len(rows)))])
    kept = []
    with Tally("thumbnails", len(rows)) as tally:
        for clips in machine.loader(ViewDataset(videos, rows, views)):
            kept.append(adaptive_avg_pool2d(clips[0, :, 0].float(), GRID).flatten(1).numpy())  # [M, D]
            tally.add("videos")
    return np.stack(kept)
