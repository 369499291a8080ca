"""Audits of a synthetic world: how much a still frame reveals about the action, and how accurate the files are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avssl.synthetic.actions import Array
from avssl.synthetic.scene import Scene
from avssl.synthetic.world import World


class Score(NamedTuple):
    """A cross-validated accuracy and half its 95 % interval (normal approximation)."""

    accuracy: float
    interval: float


def still_features(scene: Scene, t: float) -> Array:
    """Return ``[774]``: one frame scaled to 16 x 16 RGB, and the mean and standard deviation of its colours."""
    frame = scene.frame(t).astype(np.float64) / 255
    small = cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA)
    return np.concatenate([small.ravel(), frame.mean((0, 1)), frame.std((0, 1))])


def geometry_features(scene: Scene, t: float) -> Array:
    """Return ``[10]``: the true image position and size of both objects at one moment, and their differences."""
    circles = scene.circles(t)
    first, second = circles[np.argsort(circles[:, 0])]
    return np.concatenate([first, second, second - first, [np.hypot(*(second - first)[:2])]])


def motion_features(scene: Scene) -> Array:
    """Return ``[10]``: mean speeds along X, Y, Z, of rotation, separation and circling, and acceleration."""
    step = 0.04
    places = scene.places(np.arange(0, scene.world.seconds, step))
    speeds = np.diff(places, axis=1) / step  # [2, T, 4]
    apart = (places[1] - places[0])[:, [0, 2]]
    distance = np.linalg.norm(apart, axis=-1)
    parting = np.diff(distance) / step
    circling = (apart[:-1, 0] * np.diff(apart[:, 1]) - apart[:-1, 1] * np.diff(apart[:, 0])) / step / distance[:-1] ** 2
    pace = np.linalg.norm(speeds[..., :3], axis=-1)
    faster = np.diff(pace, axis=1)
    means = [np.abs(speeds).mean((0, 1)), [parting.mean(), np.abs(parting).mean(), circling.mean(), pace.std()]]
    return np.concatenate([*means, [np.median(faster), np.abs(circling).mean()]])


def _score(model: object, features: Array, labels: NDArray[np.int64]) -> Score:
    accuracy = float(cross_val_score(model, features, labels, cv=5).mean())
    return Score(accuracy, 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(labels)))


def shortcuts(world: World, scenes: int | None = None, many: int = 2000) -> dict[str, Score]:
    """Classify the action from one random frame, and from the motion.

    ``scenes`` are rendered (None: ``world.videos``), and ``many`` are used for the tests that need no frames.

    Returns:
        Accuracies by 5-fold cross-validation over scenes: ``still/linear`` and ``still/knn`` on small frames,
        ``still/geometry`` by trees on the image position and size of both objects (as from a perfect detector), and
        ``motion/linear`` on true speeds.
    """
    scenes = scenes or world.videos
    settings = World(max(scenes, many), world.seconds, world.fps, world.size, world.rate, world.views, world.seed)
    drawn = [Scene(settings, i) for i in range(settings.videos)]
    labels = np.array([scene.label for scene in drawn])
    times = np.random.default_rng(0).uniform(0, world.seconds, len(drawn))
    stills = np.stack([still_features(s, t) for s, t in zip(drawn[:scenes], times[:scenes], strict=True)])
    geometry = np.stack([geometry_features(s, t) for s, t in zip(drawn[:many], times[:many], strict=True)])
    motion = np.stack([motion_features(scene) for scene in drawn[:scenes]])
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    near = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    trees = ExtraTreesClassifier(200, min_samples_leaf=5, random_state=0)
    moving = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=1000))
    return {
        "still/linear": _score(linear, stills, labels[:scenes]),
        "still/knn": _score(near, stills, labels[:scenes]),
        "still/geometry": _score(trees, geometry, labels[:many]),
        "motion/linear": _score(moving, motion, labels[:scenes]),
    }


def decode(path: Path, rate: int) -> tuple[Array, NDArray[np.uint8], Array]:
    """Decode a whole file of a synthetic world, whose sampling rate is ``rate``, by its timestamps.

    Returns ``[T]`` seconds and ``[T, H, W, 3]`` uint8 RGB frames, and the sound ``[S]`` from 0 seconds on.
    """
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
        container.seek(0)
        chunks = [(frame.time, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    sound = np.zeros(round(chunks[-1][0] * rate) + len(chunks[-1][1]))
    for time, samples in chunks:
        first = round(time * rate)
        sound[max(first, 0) : first + len(samples)] = samples[max(-first, 0) :]
    return np.array([p.time for p in pictures]), np.stack([p.to_ndarray(format="rgb24") for p in pictures]), sound


def onset_errors(scene: Scene, sound: Array, alone: float = 0.3) -> Array:
    """Return detected onset minus true time, in seconds, of each impact preceded by ``alone`` seconds without another.

    The onset is the first sample within 10 ms of the true time that exceeds 35 % of the peak of the next 10 ms.
    """
    rate, gaps = scene.world.rate, np.diff(scene.impacts, prepend=0.0)
    near, errors = round(0.01 * rate), []
    for time in scene.impacts[gaps > alone]:
        middle = round(time * rate)
        around = np.abs(sound[max(middle - near, 0) : middle + near])
        peak = np.abs(sound[middle : middle + near]).max(initial=0)
        errors.append((np.argmax(around > 0.35 * peak) + max(middle - near, 0)) / rate - time)
    return np.array(errors)


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of two images, in dB."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2)))
