"""Ambient sound provides supervision for visual learning.

A. Owens, J. Wu, J. H. McDermott, W. T. Freeman, A. Torralba: Ambient Sound Provides Supervision for Visual Learning.
ECCV 2016. https://arxiv.org/abs/1608.07017
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.encoders import Encoder
from avssl.encoders.texture import SoundTexture
from avssl.methods.audiovisual.streams import AlignedClips
from avssl.methods.base import Method, measured
from avssl.methods.clustering import kmeans, majority_share, nearest_centre, spaced
from avssl.methods.counters import HostNumber
from avssl.methods.distributed import gather

Target = Literal["clusters", "bits"]


class AmbientSound(Method):
    """Predict from one frame what the sound around it is like.

    The sound of some seconds around a frame becomes the 502 statistics of a sound texture (`SoundTexture`). The target
    is the cluster of these statistics (section 3.2, "clustering"), or one bit for each of their principal components:
    its sign ("coding"). Statistics are standardised, and each of their five kinds has the same weight.

    The paper clusters the whole collection once. Here the statistics of the last ``memory`` frames are clustered every
    ``every`` steps of the first part of the run, at first from some of them, then from the clusters before; after that
    the targets stand still. K-means compares directions (as `XDC`'s), not distances.

    Metrics: ``cluster``, accuracy over clusters; chance is the share of the most frequent one in the batch. Or
    ``bits``, the share of bits predicted; chance is that of the more frequent value of each.

    Args:
        sampler: draws one frame and the sound around it (paper: 3.75 s).
        clusters: number of clusters, or of bits (paper: 30 of either).
        target: ``"clusters"`` or ``"bits"``.
        memory: number of sounds that are clustered.
        every: steps between two clusterings.
        until: share of the run after which the targets stay as they are.
        rate: sampling rate of the sound in Hz.
    """

    memory: Tensor
    centres: Tensor
    mean: Tensor
    scale: Tensor
    sampler: AlignedClips
    frames_only = True

    def __init__(
        self,
        encoder: Encoder,
        sampler: AlignedClips | None = None,
        clusters: int = 30,
        target: Target = "clusters",
        memory: int = 2048,
        every: int = 50,
        until: float = 0.3,
        rate: int = 16000,
    ) -> None:
        super().__init__(encoder, sampler or AlignedClips(num_frames=1, step=0.04, sound=3.75))
        self.texture = SoundTexture(rate)
        self.target, self.every, self.until = target, every, until
        features = self.texture.num_features
        self.register_buffer("memory", torch.zeros(memory, features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("centres", F.normalize(torch.randn(clusters, features), dim=1))
        self.stored, self.taken = HostNumber(self, "written"), HostNumber(self, "steps")  # sounds and steps so far
        self.head = nn.Linear(encoder.num_features, clusters)
        self.fresh: list[Tensor] = []  # statistics of all forward passes of this step

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metric over B·N frames."""
        statistics = self.statistics(clips)
        if self.training:
            self.fresh.append(gather(statistics)[0].detach())
        scores = self.head(self.encoder(clips.video.flatten(0, 1))).float()  # [M, K]
        if self.target == "bits":
            bits = self.targets(statistics)  # [M, K] bool
            loss = F.binary_cross_entropy_with_logits(scores, bits.float())
            share = bits.float().mean(0)
            common = torch.maximum(share, 1 - share).mean().expand(len(clips))
            return measured(clips, loss, bits=((scores > 0) == bits, common))
        labels = self.targets(statistics)  # [M]
        common = majority_share(labels, scores.shape[1])
        return measured(clips, F.cross_entropy(scores, labels), cluster=(scores.argmax(1) == labels, common))

    def statistics(self, clips: Clips) -> Tensor:
        """Return the statistics ``[B N, 502]`` of the sound around each frame.

        Raises:
            ValueError: if there is no sound, or its sampling rate is another one.
        """
        if clips.audio is None:
            raise ValueError("AmbientSound needs sound: these clips have none")
        rate = clips.audio.shape[2] / self.sampler.heard
        if abs(rate / self.texture.rate - 1) > 0.01:
            raise ValueError(
                f"the sound has {rate:.0f} samples per second, AmbientSound expects {self.texture.rate}: "
                f"set data.audio_rate to {self.texture.rate}, or the method's rate to that of the sound"
            )
        with torch.no_grad():
            return self.texture(clips.audio.flatten(0, 1))

    def targets(self, statistics: Tensor) -> Tensor:
        """Return the clusters ``[M]`` int64, or the bits ``[M, K]`` bool, of statistics ``[M, 502]``."""
        with torch.no_grad():
            directions = self._directions(statistics)
            return (
                directions @ self.centres.T > 0 if self.target == "bits" else nearest_centre(directions, self.centres)
            )

    def _directions(self, statistics: Tensor) -> Tensor:
        """Standardise ``[M, 502]`` by the memory's mean and scale, weigh the kinds alike, and return unit vectors."""
        return F.normalize((statistics - self.mean) * self.scale, dim=1)

    def after_step(self, progress: float) -> None:
        """Store statistics, and cluster all every ``every`` steps at first, which alone waits for the device."""
        fresh, size = torch.cat(self.fresh), len(self.memory)
        place = torch.arange(self.stored.value, self.stored.value + len(fresh), device=fresh.device) % size
        self.memory[place] = fresh
        self.stored.set(self.stored.value + len(fresh))
        self.taken.set(self.taken.value + 1)
        self.fresh = []
        known = min(self.stored.value, size)
        if self.taken.value % self.every or known < len(self.centres):
            return
        first = not bool(self.mean.any())
        if first or progress <= self.until:
            self._cluster(self.memory[:known], first)

    def _cluster(self, statistics: Tensor, first: bool) -> None:
        spread = statistics.std(0, correction=0)
        weights = torch.cat([torch.full((count,), count**-0.5) for count in self.texture.groups]).to(spread)
        self.mean.copy_(statistics.mean(0))
        self.scale.copy_(torch.where(spread > 1e-6, weights / spread.clamp(min=1e-6), torch.zeros_like(spread)))
        directions = self._directions(statistics)
        if self.target == "clusters":
            self.centres.copy_(kmeans(directions, spaced(directions, len(self.centres)) if first else self.centres))
            return
        axes = torch.linalg.eigh(directions.T @ directions).eigenvectors[:, -len(self.centres) :].flip(1).T  # [K, 502]
        turned = (axes * self.centres).sum(1, keepdim=True) < 0  # a component has no sign of its own: keep the last
        self.centres.copy_(torch.where(turned, -axes, axes))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the cluster, or the bits."""
        targets = self.targets(self.statistics(clips)).unflatten(0, clips.video.shape[:2])
        if self.target == "bits":
            return [["".join("01"[bit] for bit in bits) for bits in row] for row in targets.tolist()]
        return [[f"cluster {cluster}" for cluster in row] for row in targets.tolist()]
