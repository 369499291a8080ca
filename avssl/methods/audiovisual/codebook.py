"""Clusters of the vectors of single moments, as targets of masked prediction."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avssl.methods.clustering import lloyd, spaced
from avssl.methods.counters import HostNumber
from avssl.methods.losses import squared_distances


class Codebook(nn.Module):
    """K-means clusters of the last vectors that were added; they, too, are buffers, so that a resumed run is exact.

    Nothing is drawn: centres are the same in every process that added the same vectors. Before the first clustering,
    they are random.

    Args:
        features: D.
        clusters: K.
        memory: number of vectors that are remembered and clustered.
    """

    vectors: Tensor
    names: Tensor
    centres: Tensor

    def __init__(self, features: int, clusters: int, memory: int) -> None:
        super().__init__()
        if memory < clusters:
            raise ValueError(f"memory is {memory}: fewer vectors than the {clusters} clusters they are to be put in")
        self.register_buffer("vectors", torch.zeros(memory, features))
        self.register_buffer("names", torch.zeros(memory, dtype=torch.long))
        self.register_buffer("centres", torch.randn(clusters, features))
        self.written, self.made = HostNumber(self, "count"), HostNumber(self, "clusterings")

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
        return squared_distances(vectors, self.centres).argmin(-1)

    def add(self, vectors: Tensor, names: Tensor) -> None:
        """Remember vectors ``[M, D]``, and a label ``[M]`` of each, in place of the oldest."""
        size = len(self.vectors)
        place = torch.arange(int(self.written.value), int(self.written.value) + len(vectors), device=vectors.device)
        place = place[-size:] % size
        self.vectors[place], self.names[place] = vectors[-size:], names[-size:]
        self.written.set(self.written.value + len(vectors))

    def cluster(self) -> None:
        """Cluster what is remembered: at first from some of the vectors, then from the clusters before.

        It waits for the device.
        """
        vectors = self.vectors[: self.known]
        self._fit(self.centres if self.made.value else spaced(vectors, len(self.centres)))

    def cluster_by_names(self) -> None:
        """Cluster what is remembered, from the means of the vectors of each label, so that labels keep their meaning.

        A label that no vector has begins at the mean of all. It waits for the device.
        """
        vectors, names = self.vectors[: self.known], self.names[: self.known]
        counts = torch.bincount(names, minlength=len(self.centres))[:, None]
        sums = torch.zeros_like(self.centres).index_add_(0, names, vectors)
        self._fit(torch.where(counts > 0, sums / counts.clamp(min=1), vectors.mean(0)))

    def _fit(self, centres: Tensor) -> None:
        self.centres.copy_(lloyd(self.vectors[: self.known], centres))
        self.made.set(self.made.value + 1)
