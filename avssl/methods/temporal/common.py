"""Pieces that several temporal methods share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips, ClipTimes
from avssl.data.dataset import Labeller
from avssl.data.samplers import ClipSampler, RandomClips
from avssl.encoders import Encoder, ResNet
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.methods.dense import MapHead, middle_frames


@dataclass(frozen=True)
class EitherWay(RandomClips):
    """Random clips, each played backwards with probability 1/2, which inverts motion; ``audio`` is unaffected."""

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[N, T]``, rising or falling in each clip."""
        clips = super().__call__(info, rng)
        backward = torch.rand(len(clips.times), 1, generator=rng) < 0.5
        return clips._replace(times=torch.where(backward, clips.times.flip(1), clips.times))


class MiddleFrameMethod(Method):
    """Dense prediction for the middle frame of a clip, from that frame alone; the labeller sees all frames.

    Args:
        encoder: frame encoder.
        sampler: draws the clip that motion is measured in.
        labeller: computes the target from that clip.
        width: channels of the head.
    """

    encoder: ResNet

    def __init__(self, encoder: ResNet, sampler: ClipSampler, labeller: Labeller, width: int) -> None:
        super().__init__(encoder, sampler)
        self.labeller = labeller
        self.head = MapHead(encoder, 1, width)

    def scores(self, clips: Clips) -> Tensor:
        """Return logits ``[B, N, h, w]`` for the middle frames."""
        stages = self.encoder.stages(middle_frames(clips))
        return self.head(stages).squeeze(1).unflatten(0, clips.video.shape[:2])


def frame_vectors(encoder: Encoder, head: nn.Module, video: Tensor) -> Tensor:
    """Encode frames one by one and apply a head to their maps: ``[M, T, 3, H, W]`` to ``[M, T, D]``."""
    maps = rearrange(encoder.maps(video), "m d t h w -> (m t) d h w")
    return rearrange(head(maps), "(m t) d -> m t d", m=len(video))


def pair_features(layer: nn.Module, features: Tensor) -> Tensor:
    """Apply one shared layer to each pair of N features: ``[B, N, D]`` to ``[B, N (N - 1) / 2 hidden]``."""
    pairs = combinations(features.unbind(1), 2)
    return torch.cat([layer(torch.cat(pair, 1)) for pair in pairs], 1)


def order_index(ranks: Tensor, orders: Tensor) -> Tensor:
    """Return which row of ``orders`` ``[K, N]`` each of the ranks ``[..., N]`` equals: ``[...]``."""
    return (ranks[..., None, :] == orders).all(-1).long().argmax(-1)
