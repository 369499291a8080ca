"""Eight targets that a rendered scene knows, and ridge regression that is solved at once for all strengths.

The scenes are those of `avssl.synthetic`: what is asked of an encoder's features of one clip of a scene is the action,
depth, optical flow, moving objects, outlines of surfaces, the camera's motion, when things collide, and where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avssl.runtime.progress import Tally
from avssl.synthetic import CLASSES, Scene, World

Numbers = NDArray[np.float64]
CELLS = 4  # along height and width, on which maps are averaged
APART = 0.2  # seconds between the two frames of the optical flow
PARTS = 4  # of the clip, in each of which collisions are counted
TARGETS = ("action", "depth", "flow", "moving objects", "outlines", "camera motion", "collisions", "places")
LEAST = 0.1  # of the root mean square deviation, by which any channel is divided
STRENGTHS = np.logspace(-4, 3, 15)  # of the penalty, relative to the mean eigenvalue


def rendered(scenes: int, num_frames: int, size: int, seed: int = 0) -> tuple[Tensor, dict[str, Numbers]]:
    """Render one clip of each scene, and what there is to know.

    Args:
        scenes: number of scenes (N).
        num_frames: frames of a clip (T), spread over the scene.
        size: height and width in pixels.
        seed: of the world.

    Returns:
        Clips ``[N, T, 3, size, size]`` uint8, and for each of `TARGETS` numbers ``[N, K]``.
    """
    world = World(videos=scenes, size=size, seed=seed)
    times = (np.arange(num_frames) + 0.5) / num_frames * world.seconds
    clips = torch.empty(scenes, num_frames, 3, size, size, dtype=torch.uint8)
    found: dict[str, list[Numbers]] = {name: [] for name in TARGETS}
    with Tally("scenes", scenes) as tally:
        for index in range(scenes):
            scene = Scene(world, index)
            clips[index] = torch.from_numpy(np.stack([scene.frame(float(time)) for time in times])).movedim(3, 1)
            for name, values in scene_targets(scene, world).items():
                found[name].append(values)
            tally.add("scenes")
    return clips, {name: np.stack(values) for name, values in found.items()}


def scene_targets(scene: Scene, world: World) -> dict[str, Numbers]:
    """Return what a scene knows of its middle, and of all of it: numbers ``[K]`` by the names in `TARGETS`."""
    middle = world.seconds / 2
    surfaces = scene.surfaces(middle)
    outlines = np.zeros(surfaces.shape)
    outlines[1:] += surfaces[1:] != surfaces[:-1]
    outlines[:, 1:] += surfaces[:, 1:] != surfaces[:, :-1]
    camera = scene.ego_motion(0.0, world.seconds)
    bounds = np.linspace(0, world.seconds, PARTS + 1)
    values = (
        np.eye(len(CLASSES))[scene.label],
        np.log(_cells(scene.depth(middle))),
        _cells(scene.flow(middle, middle + APART)),
        _cells(np.asarray(scene.masks(middle).any(0))),
        _cells(outlines > 0),
        np.concatenate([np.ravel(part) for part in camera]),
        np.histogram(scene.impacts, bounds)[0],
        scene.places(np.array([middle]))[:, 0, :3],
    )
    return {name: np.ravel(value).astype(np.float64) for name, value in zip(TARGETS, values, strict=True)}


def _cells(maps: NDArray[np.generic]) -> Numbers:
    """Average ``[..., H, W]`` on `CELLS` x `CELLS`."""
    values = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float64))
    return torch.nn.functional.adaptive_avg_pool2d(values.reshape(-1, 1, *values.shape[-2:]), CELLS).numpy()


def held_out(features: Numbers, target: Numbers, folds: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Numbers:
    """Return the predictions ``[N, K]`` of ridge regression for samples held out in turn; NaN for those never tested.

    Features and targets are standardised by the training samples, though none is divided by less than a tenth of what
    the others are: a channel that was nearly dead in training would otherwise decide wherever it wakes. The strength is
    the best by leaving each training sample out, of the means too, in closed form: all samples less their means sum to
    zero, so that a sample in them follows from the others, and with many features the weakest penalty would win.

    Args:
        features: ``[N, D]``.
        target: ``[N, K]``.
        folds: training and test samples of each fold.
    """
    found = np.full(target.shape, np.nan)
    for train, test in ((list(train), list(test)) for train, test in folds):
        mean, scale = _standard(features[train])
        samples, others = ((features[rows] - mean) / scale / np.sqrt(features.shape[1]) for rows in (train, test))
        middle, spread = _standard(target[train])
        wanted = (target[train] - middle) / spread
        values, axes = np.linalg.eigh(samples @ samples.T)
        values = np.maximum(values, 0)
        along, best = axes.T @ wanted, (np.inf, STRENGTHS[0])
        for strength in STRENGTHS * max(values.mean(), 1e-12):
            shrunk = 1 / (values + strength)
            weights = axes @ (shrunk[:, None] * along)
            means = 1 / (len(train) * strength)  # what the direction in which all are equal has of the next line
            left_out = weights / ((axes**2) @ shrunk - means)[:, None]  # residuals of leave-one-out
            best = min(best, (float((left_out**2).mean()), strength))
        weights = axes @ (along / (values + best[1])[:, None])
        found[test] = others @ samples.T @ weights * spread + middle
    return found


def _standard(values: Numbers) -> tuple[Numbers, Numbers]:
    deviation = values.std(0)
    least = LEAST * float(np.sqrt((deviation**2).mean()))
    return values.mean(0), np.maximum(deviation, least) if least else np.ones_like(deviation)
