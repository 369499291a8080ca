"""Files that an evaluation writes: the results of a run, and baselines that many runs share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import avssl
from avssl.encoders import AudioEncoder, Encoder, load_encoder, weights_hash
from avssl.encoders.export import source_commit
from avssl.encoders.initial import run_of
from avssl.evaluation.results import Outcomes, Results, from_json, to_json
from avssl.evaluation.settings import digest
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.runtime.processes import from_first, rank

VERSION = 2  # of cached baselines: raise it when the same network and protocol give other results


def cached_baselines(
    encoder: Encoder,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    machine: Machine,
    make: Callable[[], Outcomes],
) -> Outcomes:
    """Return a network's baselines under a protocol from the cache; call ``make`` where they are not there yet.

    They do not depend on the encoder's weights. A network that is now initialised differently gets new ones.
    """
    identity = {
        "class": encoder.card["class"],
        "config": encoder.config,
        "normalisation": [encoder.card["mean"], encoder.card["std"]],
        "protocol": facts["hash"],
        "settings": settings,
        "version": VERSION,
        "initial": weights_hash(random_init(encoder, 0)),
        **({"begun": begun} if (begun := _begun(settings)) else {}),
    }
    path = machine.folder / "baselines" / f"{digest(identity)}.json"
    if from_first(path.exists(), "the baselines"):
        return from_json(json.loads(path.read_text()))
    found = make()
    if rank() == 0:
        write_text(path, json.dumps(to_json(found), indent=1))
    return found


def _begun(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of the weights of every run that training from scratch begins with, by ``initial``."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _begun(value)
        elif name == "initial" and (run := run_of(value)) is not None:
            found[value] = weights_hash(load_encoder(run))
    return found


def random_init(encoder: Encoder, seed: int) -> Encoder:
    """Build the same network at random initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(encoder)(**encoder.config)
    fresh.card = encoder.card
    return fresh.eval()


def environment(machine: Machine, begun: float) -> dict[str, Any]:
    """Return what results are made with: versions, device, and seconds since ``begun`` (``time.perf_counter``)."""
    return {
        "avssl": avssl.__version__,
        "commit": source_commit(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": machine.target.type,
        "bfloat16": machine.half,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def write_results(
    run: str | Path,
    encoder: Encoder | AudioEncoder,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    chance: Mapping[str, float],
    outcomes: Outcomes,
    machine: Machine,
    begun: float,
) -> Results:
    """Write ``<run>/eval/<protocol>/results.json`` and return its content; ``begun`` is of ``time.perf_counter``."""
    results = Results(
        Path(run).resolve().name, encoder.card, facts, settings, chance, outcomes, environment(machine, begun)
    )
    write_text(Path(run) / "eval" / facts["name"] / "results.json", json.dumps(results.to_json(), indent=1))
    return results
