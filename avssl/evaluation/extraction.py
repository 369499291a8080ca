"""Features of a protocol's videos: extraction by one process or several, and their cache."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numpy as np

from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder, weights_hash
from avssl.evaluation.features import Views, check_fits, stream_features, videos_together
from avssl.evaluation.reading import Grid, Reading
from avssl.evaluation.settings import plain
from avssl.evaluation.store import Floats, Shards
from avssl.runtime.device import Machine
from avssl.runtime.processes import barrier, from_first, rank, world
from avssl.runtime.progress import Tally

VERSION = 3  # of cached features: raise it when the same facts give other features
SHARD = 2048  # views per shard, at most about
SHARDS = 16  # of a small collection, at least about
IN_MEMORY = 1 << 30  # bytes of float32 above which features stay on the disk, as float16 unless told otherwise


def extract_features(
    encoder: Encoder,
    videos: Manifest,
    rows: Sequence[int],
    views: Views,
    machine: Machine,
    grid: Grid | None = None,
    layers: Sequence[int] = (),
) -> Floats | Shards:
    """Return features ``[V, M, N]`` of M views of V videos, from the cache as far as they are there.

    They are an array, or, above `IN_MEMORY` bytes, shards on the disk. Processes started together (``torchrun``) share
    the work; an extraction that was stopped resumes.

    Args:
        encoder: the encoder; its ``card`` holds the ``mean`` and ``std`` of the pixels.
        videos: a collection.
        rows: positions of the V videos.
        views: clips and crops.
        machine: device, workers, cache and storage.
        grid: see `Reading`; without grid and layers, N is D, for frame encoders S * D: segment after segment.
        layers: see `Reading`. Layer after layer, the N numbers are in the order time, height, width, channel; `parts`
            returns which are whose.

    Raises:
        MediaError: if a video can't be read.
        ValueError: if the encoder does not fit the views, or features don't fit into float16.
        ProcessEnded: if another of the processes has ended.
    """
    return extract_several(encoder, videos, rows, views, machine, [Reading(grid, tuple(layers))])[0]


def extract_several(
    encoder: Encoder,
    videos: Manifest,
    rows: Sequence[int],
    views: Views,
    machine: Machine,
    readings: Sequence[Reading],
) -> list[Floats | Shards]:
    """Return the features of several readings, like `extract_features`, by decoding the videos once."""
    found = check_fits(encoder, views, readings)
    facts: dict[str, Any] = {
        "encoder": weights_hash(encoder),
        "normalisation": [encoder.card["mean"], encoder.card["std"]],
        "videos": videos.select(rows).fingerprint,
        "views": plain(views),
        "bfloat16": machine.half,
        "version": VERSION,
        "per_shard": _per_shard(views, len(rows)),
    }
    stores = []
    for reading, parts in zip(readings, found, strict=True):
        shape = len(rows), views.count, parts[-1].stop
        storage = machine.storage if machine.storage != "auto" else "float16" if _is_large(shape) else "float32"
        own = {**facts, "grid": reading.grid, "layers": reading.layers, "storage": storage}
        folder = machine.folder / "features" / hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
        store = Shards(folder, shape[0], shape[1:], facts["per_shard"], storage)
        stores.append(store)
        if rank() == 0 and not (folder / "features.json").exists():
            store.begin(own)
    missing = from_first([store.missing() for store in stores], "the features")
    jobs = [(reading, store, set(each)) for reading, store, each in zip(readings, stores, missing, strict=True) if each]
    work = sorted(set().union(*missing))[rank() :: world()]
    if work:
        _fill(jobs, work, encoder, videos, rows, views, machine)
    barrier("the features")
    return [store if _is_large(store.shape) else store[:] for store in stores]


def _fill(
    jobs: Sequence[tuple[Reading, Shards, set[int]]],
    work: Sequence[int],
    encoder: Encoder,
    videos: Manifest,
    rows: Sequence[int],
    views: Views,
    machine: Machine,
) -> None:
    """Extract the features of some shards, and write them for each reading that misses them."""
    readings, stores, missing = zip(*jobs, strict=True)
    chosen = [rows[video] for shard in work for video in stores[0].held(shard)]
    stops = np.cumsum([store.shape[2] for store in stores])[:-1]
    title = "features" if world() == 1 else f"features, share of the first of {world()} processes"
    stream = stream_features(encoder, videos, chosen, views, machine, readings, stores[0].per_shard)
    with Tally(title, len(chosen)) if rank() == 0 else nullcontext() as tally:
        for shard in work:
            kept = []
            for video in islice(stream, len(stores[0].held(shard))):
                kept.append(video.numpy())
                if tally is not None:
                    tally.add("videos")
            for store, without, values in zip(stores, missing, np.split(np.stack(kept), stops, axis=2), strict=True):
                if shard in without:
                    store.write(shard, values)


def _per_shard(views: Views, videos: int) -> int:
    """Return the videos per shard: a whole number of batches on any device, and enough shards for many processes."""
    unit = math.lcm(*videos_together(views))
    return unit * max(1, round(min(SHARD // views.count, videos / SHARDS) / unit))


def _is_large(shape: Sequence[int]) -> bool:
    return 4 * math.prod(shape) > IN_MEMORY
