"""Pseudo-labels from k-means over the features of recent clips, and how stable they are.

M. Caron, P. Bojanowski, A. Joulin, M. Douze: Deep Clustering for Unsupervised Learning of Visual Features. ECCV 2018.
https://arxiv.org/abs/1807.05520
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.methods.counters import HostNumber
from avssl.methods.dense import class_counts
from avssl.methods.distributed import gather
from avssl.methods.losses import inner_products

ROUNDS = 10  # iterations of k-means
SAME = 1e-2  # distance within which a vector is a centre


def kmeans(vectors: Tensor, centres: Tensor) -> Tensor:
    """Run spherical k-means on ``[M, D]`` unit vectors from ``[K, D]`` unit centres, K <= M.

    No cluster is empty at the end if there are K distinct vectors.
    """
    for _ in range(ROUNDS):
        cosine, own = (vectors @ centres.T).max(1)  # [M]
        sums = torch.zeros_like(centres).index_add_(0, own, vectors)
        empty = (torch.bincount(own, minlength=len(centres)) == 0).nonzero().flatten()
        sums[empty] = vectors[cosine.argsort()[: len(empty)]]
        centres = F.normalize(sums, dim=1)
    return centres


def lloyd(vectors: Tensor, centres: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Run k-means by Euclidean distances on ``[M, D]`` vectors from ``[K, D]`` centres, K <= M.

    A cluster that loses all vectors is moved to the one that is farthest from its centre, unless that is one itself: a
    second centre at one place would take its name away.
    """
    for _ in range(rounds):
        distance, own = torch.cdist(vectors, centres).min(1)  # [M]
        sizes = torch.bincount(own, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, own, vectors)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centres)
        empty = (sizes == 0).nonzero().flatten()
        farthest = distance.argsort(descending=True)[: len(empty)]
        moves = distance[farthest] > SAME
        centres[empty[moves]] = vectors[farthest[moves]]
    return centres


def spaced(vectors: Tensor, count: int) -> Tensor:
    """Return ``count`` of ``[M, D]`` vectors, evenly spaced: first centres that are the same in every process."""
    return vectors[torch.linspace(0, len(vectors) - 1, count, device=vectors.device).long()]


def nearest_centre(vectors: Tensor, centres: Tensor) -> Tensor:
    """Return the index ``[B]`` of the centre with the largest cosine to each of ``[B, D]``."""
    return inner_products(vectors, centres).argmax(1)


def majority_share(labels: Tensor, kinds: int) -> Tensor:
    """Return the fraction of the most frequent of ``[B]`` labels below ``kinds``, repeated, ``[B]``."""
    return (class_counts(labels, kinds).max() / len(labels)).expand(len(labels))


def nmi(first: Tensor, second: Tensor, kinds: int) -> Tensor:
    """Return the normalised mutual information of two labellings ``[M]`` below ``kinds``; 0 if one is constant.

    I(A; B) / sqrt(H(A) H(B)), which is 1 if the labellings are the same up to names (DeepCluster, section 4.1).
    """
    joint = torch.bincount(first * kinds + second, minlength=kinds**2).view(kinds, kinds).double() / len(first)
    entropies = [torch.special.entr(joint.sum(side)).sum() for side in (1, 0)]
    shared = entropies[0] + entropies[1] - torch.special.entr(joint).sum()
    scale = (entropies[0] * entropies[1]).sqrt()
    return torch.where(scale > 1e-12, shared / scale.clamp_min(1e-12), torch.zeros_like(scale))


class Clusters(nn.Module):
    """K-means clusters of the last features, from which pseudo-labels come.

    Features are batch-normalised and of unit length. K-means starts from random directions and continues from the
    previous clusters, so that labels keep their meaning; an empty cluster is moved to the vector that is farthest from
    its own cluster.

    Args:
        features: D.
        clusters: K.
        memory: number of features that are clustered.
        every: steps between two clusterings.

    Attributes:
        agreement: NMI of the labels that the remembered features had when they were seen, and those that the latest
            clustering gives them; before there is one, 1 / K.
        shuffled: the same with labels in random order: the chance level of ``agreement``.
    """

    vectors: Tensor
    labels: Tensor
    centres: Tensor

    def __init__(self, features: int, clusters: int, memory: int, every: int) -> None:
        super().__init__()
        if memory < clusters:
            raise ValueError(f"memory is {memory}: fewer features than the {clusters} clusters they are to be put in")
        self.kinds, self.every = clusters, every
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.register_buffer("vectors", torch.zeros(memory, features))
        self.register_buffer("labels", torch.zeros(memory, dtype=torch.long))
        self.register_buffer("centres", F.normalize(torch.randn(clusters, features), dim=1))
        self.stored, self.taken = HostNumber(self, "written"), HostNumber(self, "steps")
        self.agreement, self.shuffled = (HostNumber(self, name, 1 / clusters) for name in ("agreed", "by_chance"))
        self.fresh: list[tuple[Tensor, Tensor]] = []  # features and labels of all forward passes of this step

    @torch.no_grad()
    def assign(self, features: Tensor) -> Tensor:
        """Return the labels ``[B]`` of features ``[B, D]``, which are remembered in training."""
        directions = F.normalize(self.norm(features.detach().float()), dim=1)
        labels = self.nearest(directions)
        if self.training:
            with torch.enable_grad():  # `gather` only gathers with gradients enabled
                self.fresh.append((gather(directions)[0].detach(), gather(labels)[0]))
        return labels

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the label ``[B]`` of each of ``[B, D]`` unit vectors."""
        return nearest_centre(vectors, self.centres)

    def cluster(self, vectors: Tensor) -> None:
        """Move the centres to the clusters of ``[M, D]`` unit vectors."""
        self.centres.copy_(kmeans(vectors, self.centres))

    def weights(self) -> Tensor:
        """Return a weight for each label, ``[K]``: in proportion to one over its count among the remembered features.

        Weighted by these, all clusters count alike, as if clips were drawn evenly over clusters. A count of less than
        a tenth of the mean is taken for that.
        """
        mean = max(self.known, 1) / self.kinds
        return mean / class_counts(self.labels[: self.known], self.kinds).clamp_min(0.1 * mean)

    @property
    def known(self) -> int:
        """Number of features that are remembered."""
        return min(int(self.stored.value), len(self.vectors))

    def after_step(self) -> None:
        """Remember this step's features, and cluster again every ``every`` steps, which alone waits for the device."""
        vectors, labels = (torch.cat(part) for part in zip(*self.fresh, strict=True))
        place = torch.arange(self.stored.value, self.stored.value + len(vectors), device=vectors.device)
        place = place[-len(self.vectors) :] % len(self.vectors)
        self.vectors[place], self.labels[place] = vectors[-len(place) :], labels[-len(place) :]
        self.stored.set(self.stored.value + len(vectors))
        self.taken.set(self.taken.value + 1)
        self.fresh = []
        if self.taken.value % self.every or self.known < self.kinds:
            return
        vectors, before = self.vectors[: self.known], self.labels[: self.known].clone()
        self.cluster(vectors)
        after = self.nearest(vectors)
        self.labels[: self.known] = after
        mixed = before[torch.randperm(len(before), device=before.device)]
        for number, labels in ((self.agreement, before), (self.shuffled, mixed)):
            number.set(max(nmi(labels, after, self.kinds).item(), 1e-6))

    def stability(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``agreement`` and ``shuffled``, repeated for each of ``[B]`` labels."""
        return self.get_buffer("agreed").expand(len(labels)), self.get_buffer("by_chance").expand(len(labels))


class NestedClusters(Clusters):
    """Coarse clusters, and fine ones within each; a label is ``coarse * clusters + fine``.

    Args:
        features: D.
        coarse: number of coarse clusters.
        clusters: fine clusters within each.
        memory: number of features that are clustered.
        every: steps between two clusterings.
    """

    inner: Tensor

    def __init__(self, features: int, coarse: int, clusters: int, memory: int, every: int) -> None:
        super().__init__(features, coarse * clusters, memory, every)
        self.clusters = clusters
        self.centres = F.normalize(torch.randn(coarse, features), dim=1)
        self.register_buffer("inner", F.normalize(torch.randn(coarse, clusters, features), dim=2))

    def nearest(self, vectors: Tensor) -> Tensor:  # noqa: D102
        coarse = nearest_centre(vectors, self.centres)
        fine = inner_products(vectors, self.inner.flatten(0, 1)).unflatten(1, self.inner.shape[:2])  # [B, C, K]
        return coarse * self.clusters + fine[torch.arange(len(vectors), device=vectors.device), coarse].argmax(1)

    def cluster(self, vectors: Tensor) -> None:
        """Move the coarse centres, then the fine ones of those with enough of the ``[M, D]`` vectors."""
        super().cluster(vectors)
        coarse = nearest_centre(vectors, self.centres)
        for number, inner in enumerate(self.inner):
            members = vectors[coarse == number]
            if len(members) >= self.clusters:
                self.inner[number] = kmeans(members, inner)
