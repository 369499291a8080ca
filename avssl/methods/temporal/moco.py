"""Momentum contrast (MoCo) on clips.

K. He, H. Fan, Y. Wu, S. Xie, R. Girshick: Momentum Contrast for Unsupervised Visual Representation Learning. CVPR 2020;
v2: X. Chen et al., arXiv 2003.04297; v3: X. Chen, S. Xie, K. He, ICCV 2021. On clips: C. Feichtenhofer, H. Fan,
B. Xiong, R. Girshick, K. He: A Large-Scale Study on Unsupervised Spatiotemporal Representation Learning. CVPR 2021.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

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
from avssl.methods.queue import KeyQueue


class MoCo(Method):
    """Match a clip (query) with another clip of the same video (key) among many keys.

    A momentum encoder encodes the keys; those of other videos are negatives (Feichtenhofer et al., equation 1). With a
    queue (v2) they include the keys of recent steps. Without it (v3) each of the two clips is a query once, and a
    prediction head follows the projection of the queries alone (Chen et al. 2021, algorithm 1). With more than two
    clips (Feichtenhofer et al., section 3: rho > 2) each is a query whose keys are all other clips, one after the
    other, and the keys of all are enqueued; a pair's negatives are of other videos in either case.

    Metric: ``accuracy``, whether a query's key is the nearest in the batch (not in the queue, whose keys come from
    older weights and can be told apart by that alone); chance is one over the number of videos in the batch.

    Args:
        sampler: draws rho clips, at least two (the paper: 2, better 4).
        hidden: width of the head's hidden layers (the paper: 2048).
        out: width of the projection (the paper: 128).
        layers: linear layers of the head (the authors' code: 3).
        temperature: softmax temperature (the paper: 0.1).
        momentum: initial momentum (the authors' code: 0.994).
        queue: size of the queue (the paper: 65536); 0 compares within the batch, as v3 does.
    """

    sampler: RandomClips

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
        if self.sampler.clips < 2:
            raise ValueError(f"MoCo: sampler.clips must be at least 2, a query and its key; got {self.sampler.clips}")
        self.temperature = temperature
        self.head = projection(encoder.num_features, hidden, out, layers)
        self.predictor = nn.Identity() if queue else projection(out, hidden, out)
        self.copy = MomentumCopy(nn.Sequential(encoder, self.head), momentum)
        self.queue = KeyQueue(queue, out)
        self.register_load_state_dict_pre_hook(_with_present_names)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B videos."""
        video = clips.video.unbind(1)  # rho of [B, T, 3, H, W]
        pairs = list(permutations(range(len(video)), 2))  # query and key
        if len(self.queue.keys) and len(video) == 2:
            pairs = pairs[:1]
        asking, asked = (sorted(set(part)) for part in zip(*pairs, strict=True))
        queries = {n: F.normalize(self.predictor(self.head(self.encoder(video[n]))).float(), dim=1) for n in asking}
        keys = {n: F.normalize(self.copy(video[n]).float(), dim=1) for n in asked}  # [B, out], as queries
        every = {other: gather(key) for other, key in keys.items()}  # [world B, out], and the offset of this rank's
        older = {n: self.queue.similarities(query) for n, query in queries.items()}  # [B, queue]
        for found, _ in every.values():
            self.queue.offer(found)
        outputs = []
        for one, other in pairs:
            found, offset = every[other]
            scores = torch.cat([inner_products(queries[one], found), older[one]], 1) / self.temperature
            loss = F.cross_entropy(scores, torch.arange(len(clips), device=scores.device) + offset)
            outputs.append(measured(clips, loss, accuracy=retrieval_accuracy(queries[one], keys[other])))
        return mean_outputs(outputs, clips)

    def after_step(self, progress: float) -> None:
        """Update the momentum encoder, and replace the oldest keys in the queue by those of this step."""
        self.copy.follow(nn.Sequential(self.encoder, self.head), progress)
        self.queue.advance()

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the video of each clip."""
        if self.sampler.clips > 2:
            return [[f"video {video}"] * self.sampler.clips for video in range(len(clips))]
        return [[f"query {video}", f"key {video}"] for video in range(len(clips))]


def _with_present_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename the queue of a checkpoint that was written when it was MoCo's own."""
    for before, now in (("queue", "queue.keys"), ("seen", "queue.seen")):
        if prefix + before in state:
            state[prefix + now] = state.pop(prefix + before)
