"""Clusterings of unit vectors: k-means, spectral, and by closed-form self-expression."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from avssl.evaluation.readout import Floats, Ints, scales

How: TypeAlias = Literal["kmeans", "spectral", "self_expressive"]
MOST = 20  # clusters that are tried if their number is to be chosen
STARTS = 10  # of k-means
NEIGHBOURS = 10  # of a video in the graph of spectral clustering
PAIRS = 5000  # videos up to which all pairs are compared


def unit(features: Floats, components: int = 64) -> Floats:
    """Standardise features ``[V, D]``, keep their principal components, whiten these, and return unit vectors.

    At most a fourth as many components as videos are kept, and none of less than 1 % of the largest one's variance.
    """
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    values = (features - mean) / scales(mean, deviation)
    with threadpool_limits(1):
        left, size, _ = np.linalg.svd(values, full_matrices=False)
    kept = max(1, min(components, len(values) // 4, int((size**2 > 0.01 * size[0] ** 2).sum())))
    return _unit((left[:, :kept] * np.sqrt(len(values))).astype(np.float32))


def standardised(features: Floats) -> Floats:
    """Standardise features ``[V, D]`` and return unit vectors."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    return _unit(((features - mean) / scales(mean, deviation)).astype(np.float32))


def _unit(values: Floats) -> Floats:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def cluster(vectors: Floats, count: int, how: How, strength: float = 1.0, seed: int = 0) -> Ints:
    """Return the cluster of each of V unit vectors ``[V, D]``, ``[V]``, the largest cluster first.

    Args:
        vectors: of unit length.
        count: number of clusters (k).
        how: ``kmeans``; ``spectral`` (Ng, Jordan and Weiss, NIPS 2001) on the graph of ten nearest neighbours;
            ``self_expressive``: spectral on the largest entries of |C| + |C|', where C = (G + lambda I)^-1 G expresses
            vectors by each other, G being their inner products: the least-squares case of subspace clustering (Lu et
            al., ECCV 2012, equation 18), around which S2ConvSCN (Zhang et al., CVPR 2019) has a network.
        strength: lambda, in means of the eigenvalues of G, of which min(V, D) are not 0.
        seed: of the starts.

    Raises:
        ValueError: if there are fewer videos than clusters, or too many for a method that compares all pairs.
    """
    if not 1 <= count <= len(vectors):
        raise ValueError(f"{count} clusters of {len(vectors)} videos: expected from 1 to as many as there are videos")
    if count == 1:
        return np.zeros(len(vectors), np.int64)
    if how != "kmeans" and len(vectors) > PAIRS:
        raise ValueError(f"{how} compares all pairs of {len(vectors)} videos; above {PAIRS} use --how=kmeans")
    with threadpool_limits(1):
        if how == "kmeans":
            found = KMeans(count, n_init=STARTS, random_state=seed).fit_predict(vectors)
        else:
            graph = neighbour_graph(vectors) if how == "spectral" else expression_graph(vectors, strength)
            made = SpectralClustering(count, affinity="precomputed", n_init=STARTS, random_state=seed)
            found = made.fit_predict(graph)
    order = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    return np.argsort(order)[found].astype(np.int64)


def neighbour_graph(vectors: Floats) -> NDArray[np.float64]:
    """Return ``[V, V]``: 1 between a vector and its ten nearest that is also among theirs, 0.5 if on one side only."""
    cosine = (vectors @ vectors.T).astype(np.float64)
    np.fill_diagonal(cosine, -np.inf)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(vectors) - 1)]
    graph = np.zeros(cosine.shape)
    np.put_along_axis(graph, near, 1.0, axis=1)
    return (graph + graph.T) / 2 + 1e-6  # connected, if only just


def expression_graph(vectors: Floats, strength: float) -> NDArray[np.float64]:
    """Return |C| + |C|' ``[V, V]`` of the ten largest entries in each row of C; see `cluster`."""
    found = np.abs(expressions(vectors, strength))
    np.fill_diagonal(found, 0.0)
    kept = np.argsort(-found, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(vectors) - 1)]
    graph = np.zeros(found.shape)
    np.put_along_axis(graph, kept, np.take_along_axis(found, kept, axis=1), axis=1)
    return graph + graph.T + 1e-6  # connected, if only just


def expressions(vectors: Floats, strength: float) -> NDArray[np.float64]:
    """Return C ``[V, V]``, which minimises |X - C X|^2 + lambda |C|^2 over all matrices; see `cluster`."""
    products = (vectors @ vectors.T).astype(np.float64)
    size = strength * np.trace(products) / min(vectors.shape)
    return np.linalg.solve(products + size * np.eye(len(products)), products)


def choose(vectors: Floats, how: How, strength: float, seed: int) -> tuple[int, dict[int, float]]:
    """Choose the number of clusters with the largest mean silhouette (Rousseeuw 1987), and return all of them.

    From 2 to 20, and to at most a third of the videos. Labels play no part.

    Raises:
        ValueError: if there are fewer than six videos.
    """
    most = min(MOST, len(vectors) // 3)
    if most < 2:
        raise ValueError(f"{len(vectors)} videos are too few to choose a number of clusters; give --clusters")
    found = {
        count: float(silhouette_score(vectors, cluster(vectors, count, how, strength, seed), metric="cosine"))
        for count in range(2, most + 1)
    }
    return max(found, key=lambda count: found[count]), found
