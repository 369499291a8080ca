"""Clusters of the vectors of single moments, as targets of masked prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.methods.clustering import kmeans, nearest_centre, spaced
from avssl.methods.counters import HostNumber


class Codebook(nn.Module):
    """K-means clusters of the last vectors that were added; they, too, are buffers, so that a resumed run is exact.

    Vectors are standardised by the mean and deviation of those remembered, and their directions are compared. Nothing
    is drawn: centres are the same in every process that added the same vectors.

    Args:
        features: D.
        clusters: K.
        memory: number of vectors that are remembered and clustered.
    """

    vectors: Tensor
    names: Tensor
    mean: Tensor
    scale: Tensor
    centres: Tensor

    def __init__(self, features: int, clusters: int, memory: int) -> None:
        super().__init__()
        if memory < clusters:
            raise ValueError(f"memory is {memory}: fewer vectors than the {clusters} clusters they are to be put in")
        self.register_buffer("vectors", torch.zeros(memory, features))
        self.register_buffer("names", torch.zeros(memory, dtype=torch.long))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("centres", F.normalize(torch.randn(clusters, features), dim=1))
        self.written = HostNumber(self, "count")

    @property
    def known(self) -> int:
        """Number of vectors that are remembered."""
        return min(int(self.written.value), len(self.vectors))

    @property
    def full(self) -> bool:
        """Whether as many are remembered as can be."""
        return self.known == len(self.vectors)

    def labels(self, vectors: Tensor) -> Tensor:
        """Return the cluster ``[...]`` int64 of each of ``[..., D]`` vectors."""
        return nearest_centre(self._directions(vectors).flatten(0, -2), self.centres).view(vectors.shape[:-1])

    def add(self, vectors: Tensor, names: Tensor) -> None:
        """Remember vectors ``[M, D]``, and a label ``[M]`` of each, in place of the oldest."""
        size = len(self.vectors)
        place = torch.arange(int(self.written.value), int(self.written.value) + len(vectors), device=vectors.device)
        place = place[-size:] % size
        self.vectors[place], self.names[place] = vectors[-size:], names[-size:]
        self.written.set(self.written.value + len(vectors))

    def cluster(self, again: bool) -> None:
        """Cluster what is remembered: at first from some of the vectors; then, if ``again``, from the clusters before.

        It waits for the device.
        """
        first = not bool(self.mean.any())
        if not (first or again):
            return
        directions = self._standardise()
        self.centres.copy_(kmeans(directions, spaced(directions, len(self.centres)) if first else self.centres))

    def cluster_by_names(self) -> None:
        """Cluster what is remembered, from the means of the vectors of each label, so that labels keep their meaning.

        It waits for the device.
        """
        directions = self._standardise()
        sums = torch.zeros_like(self.centres).index_add_(0, self.names[: self.known], directions)
        self.centres.copy_(kmeans(directions, F.normalize(sums, dim=1)))

    def _standardise(self) -> Tensor:
        """Measure mean and deviation of the remembered vectors, and return their directions ``[M, D]``."""
        vectors = self.vectors[: self.known]
        spread = vectors.std(0, correction=0)
        self.mean.copy_(vectors.mean(0))
        self.scale.copy_(torch.where(spread > 1e-6, 1 / spread.clamp(min=1e-6), torch.zeros_like(spread)))
        return self._directions(vectors)

    def _directions(self, vectors: Tensor) -> Tensor:
        return F.normalize((vectors.float() - self.mean) * self.scale, dim=-1)
