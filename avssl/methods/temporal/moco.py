"""Momentum contrast (MoCo) on clips.

K. He, H. Fan, Y. Wu, S. Xie, R. Girshick: Momentum Contrast for Unsupervised Visual Representation Learning. CVPR 2020;
v2: X. Chen et al., arXiv 2003.04297; v3: X. Chen, S. Xie, K. He, ICCV 2021. On clips: C. Feichtenhofer, H. Fan,
B. Xiong, R. Girshick, K. He: A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning. CVPR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.distributed import gather
from avssl.methods.heads import projection
from avssl.methods.losses import inner_products, mean_outputs, retrieval_accuracy
from avssl.methods.momentum import MomentumCopy


class MoCo(Method):
    """Match a clip (query) with another clip of the same video (key) among many keys.

    A momentum encoder encodes the keys; those of other videos are negatives (Feichtenhofer et al., equation 1). With a
    queue (v2) they include the keys of recent steps. Without it (v3) each of the two clips is a query once, and a
    prediction head follows the projection of the queries alone (Chen et al. 2021, algorithm 1).

    Metric: ``accuracy``, whether a query's key is the nearest in the batch (not in the queue, whose keys come from
    older weights and can be told apart by that alone); chance is one over the number of videos in the batch.

    Args:
        sampler: draws two clips.
        hidden: width of the head's hidden layers (the paper: 2048).
        out: width of the projection (the paper: 128).
        layers: linear layers of the head (the authors' code: 3).
        temperature: softmax temperature (the paper: 0.1).
        momentum: initial momentum (the authors' code: 0.994).
        queue: size of the queue (the paper: 65536); 0 compares within the batch, as v3 does.
    """

    sampler: RandomClips
    queue: Tensor
    seen: Tensor

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        hidden: int = 2048,
        out: int = 128,
        layers: int = 3,
        temperature: float = 0.1,
        momentum: float = 0.994,
        queue: int = 65536,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(2, 8, 0.267))
        if self.sampler.clips != 2:
            raise ValueError(f"MoCo: sampler.clips must be 2, a query and its key; got {self.sampler.clips}")
        self.temperature = temperature
        self.head = projection(encoder.num_features, hidden, out, layers)
        self.predictor = nn.Identity() if queue else projection(out, hidden, out)
        self.copy = MomentumCopy(nn.Sequential(encoder, self.head), momentum)
        self.register_buffer("queue", torch.zeros(queue, out))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # keys enqueued so far
        self.fresh: Tensor | None = None  # keys of this step, to be enqueued

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B videos."""
        first, second = clips.video.unbind(1)  # [B, T, 3, H, W] each
        sides = [(first, second)] if len(self.queue) else [(first, second), (second, first)]
        outputs = []
        for query_clips, key_clips in sides:
            query = F.normalize(self.predictor(self.head(self.encoder(query_clips))).float(), dim=1)  # [B, out]
            key = F.normalize(self.copy(key_clips).float(), dim=1)
            outputs.append(measured(clips, self._contrast(query, key), accuracy=retrieval_accuracy(query, key)))
        return mean_outputs(outputs, clips)

    def _contrast(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the cross-entropy of matching queries ``[B, out]`` with keys of this step and of the queue."""
        every, offset = gather(key)  # [world B, out]
        if self.training:
            self.fresh = every.detach()
        kept = self.queue[: int(self.seen)]  # [K, out], fewer than the queue's size at first
        scores = inner_products(query, torch.cat([every, kept])) / self.temperature  # [B, world B + K]
        return F.cross_entropy(scores, torch.arange(len(query), device=query.device) + offset)

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder, and replace the oldest keys in the queue by those of this step."""
        self.copy.follow(nn.Sequential(self.encoder, self.head), progress)
        if self.fresh is not None and len(self.queue):
            fresh = self.fresh[-len(self.queue) :]
            places = (self.seen + torch.arange(len(fresh), device=self.seen.device)) % len(self.queue)
            self.queue[places] = fresh
            self.seen += len(fresh)
        self.fresh = None

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the video of each clip."""
        return [[f"query {video}", f"key {video}"] for video in range(len(clips))]
