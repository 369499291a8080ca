"""Shapes in which the features of a video are given to linear classifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from einops import rearrange, reduce
from numpy.typing import NDArray
from torch import Tensor

from avssl.encoders import Encoder
from avssl.evaluation.features import Views, check_fits, parts
from avssl.evaluation.reading import Grid, Reading
from avssl.evaluation.readout import Bank, Floats, Ints
from avssl.evaluation.store import Shards

Arrangement = Literal["pooled", "segments", "sequence"]
WHOLE = {  # cells in time, height and width of the maps of a clip that shows the whole video, where maps have as many
    "whole_order": (4, 1, 1),
    "whole": (4, 2, 2),
    "whole_places": (4, 4, 4),
    "whole_steps": (16, 1, 1),
}
FRAMES = 32  # of that clip, where the network takes them
NUMBERS = 20_000  # most features of a video
Values = TypeVar("Values", Floats, Tensor)


@dataclass(frozen=True)
class Shape:
    """What is read of a video, and how it is arranged.

    Attributes:
        arrangement: ``pooled`` averages over the segments of a view; ``segments`` has them in their order; ``sequence``
            has what is read of all clips of a video in their order.
        views: the clips.
        grid: cells on which maps are averaged; None for the encoder's own vector.
    """

    arrangement: Arrangement
    views: Views
    grid: Grid | None = None

    def arranged(self, features: Values, width: int) -> Values:
        """Arrange features ``[V, M, N]`` of M views as samples ``[V, M', N']``; an encoder's vector has ``width``."""
        if self.arrangement == "segments":
            return features
        if self.grid is None:
            features = reduce(features, "v m (s d) -> v m d", "mean", d=width)
        if self.arrangement == "pooled":
            return features
        return rearrange(features, "v (clip crop) d -> v crop (clip d)", crop=self.views.crops)

    def bank(
        self, features: Floats | Shards, labels: NDArray[np.signedinteger], groups: Ints, classes: int, width: int
    ) -> Bank:
        """Arrange the features of a collection, on the disk or in memory, with its labels and groups."""
        if isinstance(features, Shards):
            return Bank(features.mapped(lambda rows: self.arranged(rows, width)), labels, groups, classes)
        return Bank(self.arranged(features, width), labels, groups, classes)


def shapes_for(encoder: Encoder, views: Views) -> dict[str, Shape]:
    """Return the shapes that differ for an encoder, by name, the smallest first.

    The last ones are the maps, on several grids, of one clip that is spread over the whole video.

    Raises:
        ValueError: if the encoder does not accept the views.
    """
    (own,) = parts(encoder, views)
    found = {"pooled": Shape("pooled", views)}
    if own.grid[0] > 1:
        found["segments"] = Shape("segments", views)
    if views.clips > 1:
        found["sequence"] = Shape("sequence", views)
    whole = replace(views, clips=1, step=None, num_frames=FRAMES, segments=math.gcd(FRAMES, views.segments))
    readings = [Reading(grid) for grid in WHOLE.values()]
    try:
        every = check_fits(encoder, whole, readings)
    except ValueError:  # it takes one number of frames only
        whole = replace(views, clips=1, step=None)
        every = check_fits(encoder, whole, readings)
    kept: dict[Grid, str] = {}
    for name, (part,) in zip(WHOLE, every, strict=True):
        if part.stop <= NUMBERS and (name == "whole" or part.grid not in kept):
            kept[part.grid] = name
    for grid, name in sorted(kept.items(), key=lambda item: math.prod(item[0])):
        found[name] = Shape("sequence", whole, grid)
    return found
