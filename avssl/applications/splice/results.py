"""What is found in pictures and videos, and written."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from avssl.applications.splice.affinity import Array, Merge


@dataclass(frozen=True)
class Patch:
    """A patch and its scores.

    Attributes:
        top: pixels from the top of the frame.
        left: pixels from its left.
        score: how little it goes with most patches of the frame, from 0 to 1.
        energy: distance of its Laplacian energy from the median of the frame (log units), a score by hand.
        attributes: one minus the mean affinity with most patches, by attribute.
    """

    top: int
    left: int
    score: float
    energy: float
    attributes: dict[str, float]


@dataclass(frozen=True)
class FrameScores:
    """A picture, or a frame of a video.

    Attributes:
        seconds: when it is shown; 0 for a picture.
        score: mean of one minus the affinity of all pairs of patches, from 0 to 1: the higher, the more probably it is
            put together.
        energy: standard deviation of the Laplacian energies of the patches (log units), a score by hand.
        patches: row by row.
    """

    seconds: float
    score: float
    energy: float
    patches: list[Patch]


@dataclass(frozen=True)
class SpliceResult:
    """What `find_splice` found and wrote.

    Attributes:
        path: the picture or video.
        run: the run whose network was used.
        merge: how affinities were merged.
        size: height and width of the patches in pixels.
        shape: height and width of the frames.
        score: the largest of the frames' scores.
        seconds: of that frame.
        frames: in order.
        picture: the picture of the scores.
    """

    path: str
    run: str
    merge: Merge
    size: int
    shape: tuple[int, int]
    score: float
    seconds: float
    frames: list[FrameScores]
    picture: str


@dataclass(frozen=True)
class Examined:
    """A frame with all that is known about it.

    Attributes:
        frame: ``[3, H, W]`` uint8.
        affinity: ``[A + 1, P, P]``, see `affinities`.
        map: ``[H, W]`` scores of pixels.
        scores: what is written.
    """

    frame: Tensor
    affinity: Array
    map: Array
    scores: FrameScores
