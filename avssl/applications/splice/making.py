"""Pictures that are put together from two videos, by cameras and masks that are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.data.dataset import ClipDataset
from avssl.synthetic.camera_pipeline import CameraPipeline
from avssl.synthetic.camera_video import recoded

FRAMES, MIDDLE = 5, 2  # frames of a clip that is coded as video, and the one that is compared
SHARE = (0.1, 0.35)  # of the picture that comes from elsewhere


@dataclass(frozen=True)
class Condition:
    """How pictures are put together.

    Attributes:
        name: for people.
        same_camera: both parts are filmed by one camera: what content alone gives away.
        grid: the inserted part keeps the phase of JPEG's blocks.
        between: settings lie between the trained levels.
        crf: frames are coded as H.264 after they were put together; None leaves pictures as they are.
    """

    name: str
    same_camera: bool = False
    grid: bool = False
    between: bool = False
    crf: int | None = None


CONDITIONS = (
    Condition("pictures"),
    Condition("both parts of one camera", same_camera=True),
    Condition("JPEG's blocks in phase", grid=True),
    Condition("settings between the trained ones", between=True),
    Condition("video, H.264 at crf 18", crf=18),
    Condition("video, H.264 at crf 28", crf=28),
)


class Made(NamedTuple):
    """A picture that was put together, and one that was not.

    Attributes:
        spliced: ``[3, H, W]`` uint8.
        authentic: ``[3, H, W]`` uint8.
        mask: ``[H, W]`` bool, what comes from elsewhere.
        group: of the background's video.
    """

    spliced: Tensor
    authentic: Tensor
    mask: NDArray[np.bool_]
    group: str


def spread_over(dataset: ClipDataset, count: int, seed: int = 0) -> list[int]:
    """Choose videos, as many of each folder's parent as there are, at random: their places in the data set."""
    rng = np.random.default_rng(seed)
    parents: dict[str, list[int]] = {}
    for place in rng.permutation(len(dataset)).tolist():
        parents.setdefault(str(Path(dataset.videos[int(dataset.kept[place])].path).parents[1]), []).append(place)
    chosen: list[int] = []
    while len(chosen) < min(count, len(dataset)):
        for places in parents.values():
            if places and len(chosen) < count:
                chosen.append(places.pop())
    return chosen


class Source(NamedTuple):
    """A video, and two clips of it.

    Attributes:
        clips: ``[2, T, 3, H, W]`` uint8.
        group: what must not be split, or its path.
    """

    clips: Tensor
    group: str


def read_sources(dataset: ClipDataset, places: Sequence[int]) -> list[Source]:
    """Read two clips of the videos at some places of a data set."""
    found = []
    for place in places:
        clips = torch.stack([dataset[epoch, place].clips.video[0, 0] for epoch in range(2)])
        info = dataset.videos[int(dataset.kept[place])]
        found.append(Source(clips, info.group or str(info.path)))
    return found


def put_together(
    sources: Sequence[Source], pipeline: CameraPipeline, condition: Condition, seed: int = 0
) -> Iterator[Made]:
    """Yield a spliced and an authentic picture of each video; the inserted part is of the next one.

    Every picture is filmed as a whole. Then a rectangle or an ellipse of the second is copied over the first, from
    where it was in the second, moved by up to eight pixels.

    Raises:
        ValueError: if there is only one video.
    """
    if len(sources) < 2:
        raise ValueError(f"a splice takes two videos, got {len(sources)}")
    rng = torch.Generator().manual_seed(seed)
    for number, (clips, group) in enumerate(sources):
        donor = sources[(number + 1) % len(sources)].clips[0]
        cameras = draw(pipeline, 3, condition.between, rng)
        while bool((cameras[0] == cameras[1]).all()):
            cameras = draw(pipeline, 3, condition.between, rng)
        if condition.same_camera:
            cameras[1] = cameras[0]
        shown = [clips[0], donor, clips[1]]
        if condition.crf is None:
            shown = [clip[MIDDLE : MIDDLE + 1] for clip in shown]
        first, second, third = (film(pipeline, *pair, rng) for pair in zip(shown, cameras, strict=True))
        shift = torch.randint(0, 8, (2,), generator=rng).tolist()
        if condition.grid:
            shift = [0, 0]
        mask = region((first.shape[-2], first.shape[-1]), rng)
        spliced = torch.where(mask, second.roll(shift, (2, 3)), first)
        if condition.crf is not None:
            spliced, third = recoded(spliced, condition.crf), recoded(third, condition.crf)
        middle = len(spliced) // 2
        yield Made(spliced[middle], third[middle], mask.numpy(), group)


def draw(pipeline: CameraPipeline, count: int, between: bool, rng: torch.Generator) -> Tensor:
    """Draw settings ``[count, A]``, at the trained levels or as means of two neighbouring ones."""
    drawn = pipeline.draw(count, rng)
    if not between:
        return drawn
    levels = pipeline.levels
    above = torch.where(levels[None] > drawn[:, :, None], levels[None], torch.inf).amin(2)
    below = torch.where(levels[None] < drawn[:, :, None], levels[None], -torch.inf).amax(2)
    middle = (drawn + torch.where(above.isfinite(), above, below)) / 2
    middle[:, 2] = drawn[:, 2]  # there is nothing between two kinds of interpolation
    return middle


def film(pipeline: CameraPipeline, clip: Tensor, camera: Tensor, rng: torch.Generator) -> Tensor:
    """Film a clip ``[T, 3, H, W]`` uint8 by a camera ``[A]``."""
    filmed = pipeline(clip.float() / 255, camera.expand(len(clip), -1), rng)
    return (255 * filmed).round().to(torch.uint8)


def region(shape: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Draw a rectangle or an ellipse of a share of a picture: ``[H, W]`` bool."""
    height, width = shape
    share, ratio, down, across, kind = torch.rand(5, generator=rng).tolist()
    area = SHARE[0] + (SHARE[1] - SHARE[0]) * share
    side = 2 ** (ratio - 0.5)
    high, wide = (min(0.9, area**0.5 * part) for part in (side, 1 / side))
    y = (torch.arange(height)[:, None] + 0.5) / height - (high / 2 + down * (1 - high))
    x = (torch.arange(width)[None] + 0.5) / width - (wide / 2 + across * (1 - wide))
    if kind < 0.5:
        return (y.abs() < high / 2) & (x.abs() < wide / 2)
    return (2 * y / high) ** 2 + (2 * x / wide) ** 2 < 1
