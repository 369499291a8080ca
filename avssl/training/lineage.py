"""What an encoder's card says of how it came about: the clips that it saw, and the encoder that training began from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from avssl.data.dataset import ClipDataset
from avssl.encoders import Encoder

KEPT = ("method", "run", "source", "steps", "data", "weights_hash", "before")  # entries of the earlier card


def lineage(encoder: Encoder, shown: ClipDataset) -> dict[str, Any]:
    """Return the card's entries ``clip`` and, if the encoder was loaded for training, ``before``.

    ``clip`` holds the clips per video, the frames per clip and the seconds between frames (the median; None for single
    frames), as the sampler draws them for the first video of ``shown``. ``before`` holds what the card of the loaded
    encoder tells of its origin.
    """
    info, sampler = shown.videos[int(shown.kept[0])], shown.sampler
    long_enough = replace(info, duration=max(info.duration, sampler.seconds))
    times = sampler(long_enough, torch.Generator().manual_seed(0)).times  # [N, T]
    clips, frames = times.shape
    step = times.diff(dim=1).abs().median().item() if frames > 1 else None
    clip = {"clips": clips, "num_frames": frames, "step": None if step is None else round(step, 4)}
    before = {name: encoder.card[name] for name in KEPT if name in encoder.card}
    return {"clip": clip, **({"before": before} if before else {})}
