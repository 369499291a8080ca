"""Relative speed perception (RSPNet).

P. Chen, D. Huang, D. He, X. Long, R. Zeng, S. Wen, M. Tan, C. Gan: RSPNet: Relative Speed Perception for Unsupervised
Video Representation Learning. AAAI 2021. https://arxiv.org/abs/2011.07949
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, clip_times, random_start
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, measured
from avssl.methods.disguise import flicker
from avssl.methods.distributed import gather
from avssl.methods.losses import inner_products, nearer, retrieval_accuracy
from avssl.methods.momentum import MomentumCopy
from avssl.methods.queue import KeyQueue
from avssl.runtime.checks import check_ranges


@dataclass(frozen=True)
class RelativePaces:
    """Three clips of one video, a query and two keys in random order: one key has the pace of the query, one another.

    Every pace is equally likely for the query, so that no pace of a key gives the answer away.

    Args:
        num_frames: frames per clip (T; the paper: 16).
        step: seconds between frames at pace 1; at least one frame of the video, since repeated frames reveal the pace.
        paces: rising, at least two (the paper: 1 and 2).
        motion_weighted: prefer windows with much motion.
    """

    num_frames: int = 16
    step: float = 0.04
    paces: tuple[float, ...] = (1, 2)
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_ranges("RelativePaces", self, num_frames="[2, inf)", step="(0, inf)", paces="(0, inf)")
        if len(self.paces) < 2 or list(self.paces) != sorted(set(self.paces)):
            raise ValueError(f"RelativePaces.paces: expected at least two, rising, got {list(self.paces)}")

    @property
    def seconds(self) -> float:
        """Length of the fastest clip."""
        return self.num_frames * self.step * self.paces[-1] + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[3, T]``."""
        own, other = (self.paces[number] for number in torch.randperm(len(self.paces), generator=rng)[:2].tolist())
        keys = [(own, other), (other, own)][int(torch.randint(2, (), generator=rng))]
        shown = []
        for pace in (own, *keys):
            step = self.step * pace
            start = random_start(info, self.num_frames * step + TINY, rng, self.motion_weighted)
            shown.append(clip_times(torch.tensor([start], dtype=torch.float64), self.num_frames, step))
        return ClipTimes(torch.cat(shown))


class RSPNet(Method):
    """Tell which of two clips is played as fast as the query, and which clips are of its video.

    Relative speed perception (RSP): by the vectors of the motion head, the query must be nearer to the key of its own
    pace than to that of another, by a margin. Appearance-focused instance discrimination (A-VID): by the vectors of the
    appearance head, it must find both keys of its video, whatever their pace, among the keys of other videos and those
    of recent steps. Keys come from a momentum encoder. The loss is ``appearance`` times the sum of the two
    cross-entropies plus ``motion`` times the margin loss of similarities over the temperature, as in the authors' code.

    Metrics: ``speed``, how often the key of the query's pace is the nearer one, chance 1/2; ``accuracy``, whether a key
    is the nearest to the query among those of the batch, chance one over the number of videos.

    Differences from the paper: the two keys are clips of their own, with a start and an augmentation each, where the
    authors' are one clip played at both paces; the other videos of the batch are negatives too, so the queue need not
    begin with random vectors; one of a video's keys, at random, is enqueued; the momentum encoder normalises by running
    statistics (`MomentumCopy`) instead of shuffling batches.

    Args:
        sampler: draws a query and two keys.
        out: width of each of the two projections (the paper: 128).
        temperature: of similarities (0.07).
        margin: of the margin loss (1; the authors' code also has 2).
        appearance: weight of A-VID (1).
        motion: weight of RSP (1).
        momentum: initial momentum (0.999).
        queue: size of the queue (16384); 0 compares within the batch.
        flicker: see `avssl.methods.disguise.flicker`; hides traces of the codec that tell the pace (the paper: 0).
    """

    sampler: RelativePaces

    def __init__(
        self,
        encoder: Encoder,
        sampler: RelativePaces | None = None,
        out: int = 128,
        temperature: float = 0.07,
        margin: float = 1.0,
        appearance: float = 1.0,
        motion: float = 1.0,
        momentum: float = 0.999,
        queue: int = 16384,
        flicker: float = 0.0,
    ) -> None:
        super().__init__(encoder, sampler or RelativePaces())
        self.temperature, self.margin, self.flicker = temperature, margin, flicker
        self.appearance, self.motion = appearance, motion
        self.head = nn.Linear(encoder.num_features, 2 * out)  # both heads
        self.copy = MomentumCopy(nn.Sequential(encoder, self.head), momentum)
        self.queue = KeyQueue(queue, out)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B videos."""
        video = clips.video.flatten(0, 1)  # [B 3, T, 3, H, W]
        video = (flicker(video, self.flicker) if self.flicker else video).unflatten(0, (len(clips), 3))
        query, query_motion = unit_vectors(self.head(self.encoder(video[:, 0])))  # [B, out] each
        keys, keys_motion = unit_vectors(self.copy(video[:, 1:].flatten(0, 1)))  # [B 2, out] each
        keys, keys_motion = keys.unflatten(0, (-1, 2)), keys_motion.unflatten(0, (-1, 2))  # [B, 2, out]

        similarity = (query_motion[:, None] * keys_motion).sum(2) / self.temperature  # [B, 2]
        one, two = similarity.unbind(1)
        first = own_pace_first(clips.times)  # [B]
        own, other = torch.where(first, one, two), torch.where(first, two, one)
        loss = self.motion * (self.margin + other - own).relu().mean()

        older = self.queue.similarities(query)  # [B, queue]
        found = []
        for key in keys.unbind(1):
            every, offset = gather(key)  # [world B, out]
            scores = torch.cat([inner_products(query, every), older], 1) / self.temperature
            target = torch.arange(len(query), device=query.device) + offset
            loss = loss + self.appearance * F.cross_entropy(scores, target)
            found.append(retrieval_accuracy(query, key))
        self.queue.offer(gather(keys[:, 0])[0])
        accuracy, chance = (torch.stack(values, 1) for values in zip(*found, strict=True))  # [B, 2]
        return measured(clips, loss, speed=(nearer(-own, -other), 0.5), accuracy=(accuracy, chance))

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder and the queue."""
        self.copy.follow(nn.Sequential(self.encoder, self.head), progress)
        self.queue.advance()

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the role of each clip."""
        names = ["key, same pace", "key, other pace"]
        return [["query", *(names if first else names[::-1])] for first in own_pace_first(clips.times).tolist()]


def unit_vectors(projected: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``[M, 2 out]`` into unit vectors of the appearance and of the motion head, ``[M, out]`` float32 each."""
    appearance, motion = projected.float().chunk(2, 1)
    return F.normalize(appearance, dim=1), F.normalize(motion, dim=1)


def own_pace_first(times: Tensor) -> Tensor:
    """Return for ``[B, 3, T]`` seconds whether the first key has the pace of the query, ``[B]`` bool."""
    span = times[..., -1] - times[..., 0]  # [B, 3]
    first, second = (span[:, 1:] - span[:, :1]).abs().unbind(1)
    return first < second
