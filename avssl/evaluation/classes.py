"""Classes that the videos of a collection show, exactly one each or any number, and a fair division of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from avssl.catalog.manifest import Manifest


def one_each(videos: Manifest, rows: Sequence[int]) -> bool:
    """Tell whether each of these videos shows exactly one class; videos that nobody annotated don't count."""
    counts = pc.list_value_length(videos.column("labels")).take(pa.array(rows, pa.int64()))
    return pc.all(pc.equal(counts, 1)).as_py() is not False


def class_numbers(videos: Manifest) -> NDArray[np.int64]:
    """Return the class of each video, ``[V]``; -1 for one that does not show exactly one."""
    numbers = pc.index_in(videos.column("label"), pa.array(videos.classes, pa.string()))
    return pc.fill_null(numbers, -1).to_numpy().astype(np.int64)


def presence(videos: Manifest) -> NDArray[np.int8]:
    """Return ``[V, K]``: 1 where a video shows a class, -1 where it does not."""
    labels = videos.column("labels").combine_chunks()
    rows = np.repeat(np.arange(len(labels)), pc.fill_null(pc.list_value_length(labels), 0).to_numpy())
    shown = np.full((len(labels), len(videos.classes)), -1, dtype=np.int8)
    shown[rows, pc.index_in(labels.flatten(), pa.array(videos.classes, pa.string())).to_numpy()] = 1
    return shown


def divide(present: NDArray[np.int8], units: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    """Divide videos into parts that keep groups whole, of about equal size and with about as many videos of each class.

    Groups are placed one after the other, those with the largest shares of their classes first, each where the squared
    shares of all parts sum to least. Equal groups come in random order.

    Args:
        present: ``[V, K]`` 1 where a video shows a class.
        units: ``[V]`` numbers from 0 of the videos' groups, at least as many as parts.
        parts: number of parts.
        seed: seed of the order.

    Returns:
        ``[V]`` number of each video's part.
    """
    rows, columns = np.nonzero(present > 0)
    counts = np.zeros((units.max() + 1, present.shape[1] + 1))
    np.add.at(counts, (units[rows], columns), 1)
    counts[:, -1] = np.bincount(units)  # videos
    shares = counts / np.maximum(counts.sum(0), 1)
    shuffled = np.random.default_rng(seed).permutation(len(shares))
    order = shuffled[np.argsort(-np.square(shares[shuffled]).sum(1), kind="stable")]
    loads = np.zeros((parts, shares.shape[1]))
    places = np.zeros(len(shares), dtype=np.int64)
    for group in order:
        places[group] = (loads @ shares[group]).argmin()  # the sum of squares grows by twice this, and a constant
        loads[places[group]] += shares[group]
    return places[units]
