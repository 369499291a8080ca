"""Deep clustering: the clusters of a network's own features are its labels.

M. Caron, P. Bojanowski, A. Joulin, M. Douze: Deep Clustering for Unsupervised Learning of Visual Features. ECCV 2018.
https://arxiv.org/abs/1807.05520
M. Caron, P. Bojanowski, J. Mairal, A. Joulin: Unsupervised Pre-Training of Image Features on Non-Curated Data. ICCV
2019 (DeeperCluster). https://arxiv.org/abs/1905.01278
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, measured
from avssl.methods.clustering import Clusters, NestedClusters, majority_share
from avssl.methods.dense import class_counts
from avssl.methods.temporal.rotation import TURNS, turned


class DeepCluster(Method):
    """Classify clips by the clusters of their own features.

    Features are clustered by k-means from time to time, and a linear layer and the encoder learn to predict the
    clusters (section 3.2). A label counts by one over its frequency, as if clips were drawn evenly over clusters, so
    that one cluster for everything is no solution (section 3.3, trivial parametrisation); empty clusters are moved
    (section 3.3, empty clusters). See `avssl.methods.clustering.Clusters` for what differs from the paper.

    With N clips of a video, each should have the cluster of the next. (In the paper an image is shown in other crops
    than the one that it was clustered by; the cluster of the very clip that is shown asks for no invariance.)

    Metrics: ``accuracy`` over pseudo-labels, chance the share of the most frequent one in the batch; ``same_label``,
    the NMI of the labels of remembered clips before and after the latest clustering, chance that of shuffled labels.

    Args:
        encoder: clip or frame encoder.
        sampler: draws N clips, each clustered by itself; by default two.
        clusters: k (paper: 10,000 on ImageNet, ten times the classes).
        memory: number of features that are clustered.
        every: steps between two clusterings (paper: an epoch).
    """

    caption = "the cluster of the next clip"

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        clusters: int = 64,
        memory: int = 4096,
        every: int = 100,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=2, num_frames=16, step=0.08))
        self.clusters = Clusters(encoder.num_features, clusters, memory, every)
        self.head = nn.Linear(encoder.num_features, clusters)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over B·N clips."""
        features = self.encoder(clips.video.flatten(0, 1))  # [B N, D]
        labels = next_of(self.clusters.assign(features), clips.video.shape[1])
        logits = self.head(features).float()
        return measured(
            clips,
            F.cross_entropy(logits, labels, self.clusters.weights()),
            accuracy=(logits.argmax(1) == labels, majority_share(labels, logits.shape[1])),
            same_label=self.clusters.stability(labels),
        )

    def after_step(self, progress: float) -> None:
        """Remember this step's features, and cluster again every ``every`` steps, which alone waits for the device."""
        self.clusters.after_step()


class DeeperCluster(Method):
    """Classify clips by turn and coarse cluster, and by the fine cluster within it (DeeperCluster, section 3).

    Every clip is shown at four turns. A super-class is a turn and one of a few coarse clusters of the upright clips
    (paper: 4 x 4); within it, fine clusters are told apart by a linear layer of its own (section 3.2). The loss is the
    sum of both cross-entropies, weighted as in `DeepCluster`, and clusters are those of a video's next clip.

    Metrics: ``super_class`` and ``fine``, the accuracy of the fine cluster given the super-class; chance is the best
    constant answer in the batch, for ``fine`` one for each coarse cluster; ``same_label``, see `DeepCluster`, of the
    fine clusters.

    Args:
        encoder: clip or frame encoder, applied to four clips per clip read.
        sampler: draws N clips, each clustered by itself; by default two.
        coarse: coarse clusters (paper: 4).
        clusters: fine clusters within each (paper: 20,000).
        memory: number of features that are clustered.
        every: steps between two clusterings (paper: three epochs).
    """

    caption = "0, 90, 180, 270 degrees, and the cluster of the next clip"

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        coarse: int = 4,
        clusters: int = 16,
        memory: int = 4096,
        every: int = 100,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=2, num_frames=16, step=0.08))
        self.coarse = coarse
        self.clusters = NestedClusters(encoder.num_features, coarse, clusters, memory, every)
        self.super_head = nn.Linear(encoder.num_features, TURNS * coarse)
        self.fine_head = nn.Linear(encoder.num_features, TURNS * coarse * clusters)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over 4·B·N turned clips."""
        features = self.encoder(turned(clips.video).flatten(0, 2)).unflatten(0, (-1, TURNS))  # [B N, 4, D]
        labels = next_of(self.clusters.assign(features[:, 0]), clips.video.shape[1])  # [B N]
        weight = repeat(self.clusters.weights()[labels], "m -> (m turn)", turn=TURNS)
        coarse, fine = labels // self.clusters.clusters, labels % self.clusters.clusters
        turn = torch.arange(TURNS, device=labels.device)
        above = (turn * self.coarse + coarse[:, None]).flatten()  # [B N 4]
        within = repeat(fine, "m -> (m turn)", turn=TURNS)
        flat = features.flatten(0, 1)
        first = self.super_head(flat).float()
        every = rearrange(self.fine_head(flat).float(), "m (c k) -> m c k", k=self.clusters.clusters)
        second = every[torch.arange(len(flat), device=flat.device), above]  # [B N 4, k]
        lost = F.cross_entropy(first, above, reduction="none") + F.cross_entropy(second, within, reduction="none")
        return measured(
            clips,
            (weight * lost).sum() / weight.sum(),
            super_class=(first.argmax(1) == above, majority_share(above, first.shape[1])),
            fine=(second.argmax(1) == within, self._best_constants(labels).expand(len(flat))),
            same_label=self.clusters.stability(labels),
        )

    def _best_constants(self, labels: Tensor) -> Tensor:
        """Return the share of ``[M]`` labels that the most frequent fine cluster of each coarse one has."""
        counts = class_counts(labels, self.clusters.kinds).unflatten(0, (self.coarse, -1))
        return counts.amax(1).sum() / len(labels)

    def after_step(self, progress: float) -> None:
        """Remember this step's features, and cluster again every ``every`` steps, which alone waits for the device."""
        self.clusters.after_step()


def next_of(labels: Tensor, number: int) -> Tensor:
    """Return the label of each video's next clip, of ``[B N]`` labels of N clips per video; of the last, the first."""
    return labels.unflatten(0, (-1, number)).roll(-1, 1).flatten()
