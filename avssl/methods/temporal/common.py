"""Pieces that several temporal methods share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import RandomClips
from avssl.media import VideoInfo
from avssl.methods.base import per_video_mean


@dataclass(frozen=True)
class EitherWay(RandomClips):
    """Random clips, each played backwards with probability 1/2; ``audio`` spans are unaffected."""

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``, rising or falling in each clip."""
        clips = super().__call__(info, rng)
        backward = torch.rand(self.clips, 1, generator=rng) < 0.5
        return clips._replace(times=torch.where(backward, clips.times.flip(1), clips.times))


def classification(scores: Tensor, target: Tensor, clips: Clips) -> dict[str, Tensor]:
    """Return the cross-entropy, accuracy per video and chance level of a K-way classification.

    Args:
        scores: ``[M, K]`` logits in the order of the batch; M is a multiple of the number of videos.
        target: ``[M]`` int64 classes.
        clips: the batch.
    """
    return {
        "loss": F.cross_entropy(scores, target),
        "accuracy": per_video_mean((scores.argmax(1) == target).float(), clips),
        "chance/accuracy": torch.full((len(clips),), 1 / scores.shape[1], device=scores.device),
    }


def pair_features(layer: nn.Module, features: Tensor) -> Tensor:
    """Apply one shared layer to each pair of N features: ``[B, N, D]`` to ``[B, N (N - 1) / 2 hidden]``."""
    pairs = combinations(range(features.shape[1]), 2)
    return torch.cat([layer(rearrange(features[:, pair], "b pair d -> b (pair d)")) for pair in map(list, pairs)], 1)


def order_index(ranks: Tensor, orders: Tensor) -> Tensor:
    """Return which row of ``orders`` ``[K, N]`` each of the ranks ``[..., N]`` equals: ``[...]``."""
    return (ranks[..., None, :] == orders).all(-1).long().argmax(-1)
