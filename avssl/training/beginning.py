"""The first weights of a run's encoder."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from avssl.data.dataset import ClipDataset, collate
from avssl.encoders import begin_with
from avssl.encoders.initial import RANDOM
from avssl.methods import Method
from avssl.methods.momentum import MomentumCopy
from avssl.training.module import statistics

CLIPS = 64  # that k-means begins with


def begin(method: Method, initial: str, videos: ClipDataset, seed: int) -> None:
    """Give a method's encoder, and momentum copies of it, their first weights (`avssl.encoders.begin_with`).

    ``videos`` are those to train on.
    """
    if initial == RANDOM:
        return
    encoder = method.encoder

    def clips() -> Tensor:
        whole = copy.copy(videos)
        whole.finish = True
        shown, _ = collate([whole[0, place] for place in range(min(len(videos), CLIPS))])
        return shown.normalised(*map(torch.tensor, statistics(encoder))).video.flatten(0, 1)[:CLIPS]

    begin_with(encoder, initial, clips, seed)
    for part in method.modules():
        if isinstance(part, MomentumCopy):
            network = part.network[0] if isinstance(part.network, nn.Sequential) else part.network
            network.load_state_dict(encoder.state_dict())
