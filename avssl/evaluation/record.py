"""What is written down of an evaluation: the result of a run, and baselines that many runs share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import avssl
from avssl.encoders import Encoder, weights_hash
from avssl.encoders.export import source_commit
from avssl.evaluation.protocol import digest
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text


def remembered(
    encoder: Encoder,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    machine: Machine,
    make: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """What ``make`` finds out about a network under a protocol, whatever its weights; kept in the cache.

    Found again only where the network is still initialised as it was then.
    """
    identity = {
        "class": encoder.card["class"],
        "config": encoder.config,
        "normalisation": [encoder.card["mean"], encoder.card["std"]],
        "protocol": facts["hash"],
        "settings": settings,
        "avssl": avssl.__version__,
        "initial": weights_hash(untrained(encoder, 0)),
    }
    path = machine.folder / "baselines" / f"{digest(identity)}.json"
    if path.exists():
        return json.loads(path.read_text())
    found = make()
    write_text(path, json.dumps(found, indent=1))
    return found


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """The same network at random initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(encoder)(**encoder.config)
    fresh.card = encoder.card
    return fresh.eval()


def record(
    run: str | Path,
    encoder: Encoder,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    chance: Mapping[str, float],
    found: Mapping[str, Any],
    machine: Machine,
    begun: float,
) -> dict[str, Any]:
    """Write ``<run>/eval/<protocol>/results.json``.

    Args:
        run: as in `evaluate`.
        encoder: of the run.
        facts: what identifies the protocol (`identify`).
        settings: how each read-out works.
        chance: what guessing reaches.
        found: read-outs of ``pretrained``, ``random_init`` and where there is one ``from_scratch``.
        machine: where.
        begun: ``time.perf_counter()`` at the beginning.

    Returns:
        What was written.
    """
    results = {
        "run": Path(run).resolve().name,
        "encoder": encoder.card,
        "protocol": facts,
        "settings": settings,
        "chance": chance,
        "results": found,
        "environment": {
            "avssl": avssl.__version__,
            "commit": source_commit(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "device": machine.target.type,
            "bfloat16": machine.half,
            "seconds": round(time.perf_counter() - begun, 1),
        },
    }
    write_text(Path(run) / "eval" / facts["name"] / "results.json", json.dumps(results, indent=1))
    return results
