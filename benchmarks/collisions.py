"""How well a run of CollisionAhead foresees collisions, step by step, beside rules made by hand.

    python benchmarks/collisions.py runs/collision_ahead

Printed is the area under the ROC curve of having collided by a step (chance 0.5), with a 95 % interval over resamples
of held-out videos, and the share that has. Steerings after a collision are random, as in training. Beside the network:

- an untrained one, and the trained one with the frames of another video: what the steerings alone tell;
- closeness in the picture: how high the walls stand above the horizon in the middle, whatever the steering;
- the way by hand: each column's distance follows from the top edge of what stands there against the sky, whose colour,
  like the heights of walls and camera, is known; a car collides where its way comes within its radius of these;
- the same way among true distances, of what is in view.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.applications.detection import auroc
from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.methods import CollisionAhead
from avssl.synthetic import ArenaScene, ArenaWorld
from avssl.synthetic.arena import CAR, EYE, SKY, SPEED, WALL, Array, column_angles, rows_below
from avssl.synthetic.driving import arc
from avssl.training.config import parse
from avssl.training.module import statistics
from avssl.training.sheet import load_method

STEPS = (1, 2, 4, 8, 12, 16)
FAR = 30.0  # metres; farther than anything
NEARLY = 30.0  # difference from the sky's colour within which a pixel is sky


def main(run: Path, rounds: int = 2) -> None:
    """Print the areas of a run on its held-out videos.

    Args:
        run: folder of a run of CollisionAhead on arenas.
        rounds: draws from each held-out video.
    """
    made, config = parse([str(run / "config.yaml")])
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    networks = {"untrained": copy.deepcopy(built.method).eval(), "trained": built.method}
    load_method(built.method, run)
    built.method.eval()
    held_out = built.data.datasets(built.method, config.seed, run).held_out
    torch.manual_seed(config.seed)
    found = [scored(networks, held_out, epoch) for epoch in range(rounds)]
    scores = {name: np.concatenate([part[0][name] for part in found]) for name in found[0][0]}  # [M, H] each
    collided, videos = (np.concatenate([part[place] for part in found]) for place in (1, 2))
    print_areas(f"{run}: {len(held_out)} held-out videos", scores, collided, videos)


def scored(
    networks: dict[str, CollisionAhead], dataset: ClipDataset, epoch: int
) -> tuple[dict[str, Array], NDArray[np.bool_], NDArray[np.int64]]:
    """Return scores ``[M, H]`` by answer, whether it has collided ``[M, H]``, and the video ``[M]``, of known clips."""
    clips, _ = collate([dataset[epoch, row] for row in range(len(dataset))])
    assert clips.target is not None
    steering, state = clips.target.flatten(0, 1).unbind(-1)  # [M, H]
    known = state[:, 0] >= 0
    before = torch.cat([torch.zeros_like(state[:, :1]), state[:, :-1]], 1) > 0
    steering = torch.where(before, 2 * torch.rand(steering.shape) - 1, steering)
    ways = steering.double().numpy()
    last = clips.video[:, :, -1].flatten(0, 1).permute(0, 2, 3, 1).numpy()
    seen = distances_by_hand(last)
    scores = {
        "closeness in the picture": np.repeat(-seen[:, 24:40].min(1)[:, None], ways.shape[1], 1),
        "the way by hand": -margins(seen, ways, dataset.sampler.step),  # type: ignore[attr-defined]
    }
    if (truth := true_distances(dataset, clips)) is not None:
        scores["the way among true distances"] = -margins(truth, ways, dataset.sampler.step)  # type: ignore[attr-defined]
    with torch.no_grad():
        for name, network in networks.items():
            states = network.states(normal(network, clips).flatten(0, 1))
            scores[name] = network.predict(states, steering).double().numpy()
        other = states.unflatten(0, clips.video.shape[:2]).roll(1, 0).flatten(0, 1)
        scores["trained, frames of another video"] = network.predict(other, steering).double().numpy()
    video = torch.arange(len(clips)).repeat_interleave(clips.video.shape[1])
    kept = known.numpy()
    return {name: part[kept] for name, part in scores.items()}, (state > 0)[known].numpy(), video[known].numpy()


def normal(method: CollisionAhead, clips: Clips) -> Tensor:
    """Return clips ``[B, N, T, 3, H, W]`` as a method's encoder expects them."""
    return clips.normalised(*map(torch.tensor, statistics(method.encoder))).video


def print_areas(title: str, scores: dict[str, Array], collided: NDArray[np.bool_], videos: NDArray[np.int64]) -> None:
    """Print the areas at some steps, and the base rate of each."""
    steps = [step for step in STEPS if step <= collided.shape[1]]
    table = Table("area under the ROC curve", *(f"step {step}" for step in steps), title=title)
    for name, values in scores.items():
        cells = []
        for step in steps:
            area = auroc(values[:, step - 1], collided[:, step - 1], videos.tolist())
            low, high = area.ci95_bootstrap
            cells.append(f"{area.value:.3f} [{low:.2f}, {high:.2f}]")
        table.add_row(name, *cells)
    table.add_row("collided by then", *(f"{collided[:, step - 1].mean():.3f}" for step in steps))
    Console(width=170).print(table)


def distances_by_hand(pictures: NDArray[np.uint8]) -> Array:
    """Return metres to what stands in each column of ``[M, 36, 64, 3]`` RGB, ``[M, 64]``, from its edge to the sky."""
    sky = np.abs(pictures.astype(np.float64) - SKY).max(-1) < NEARLY  # [M, 36, 64]
    above = -rows_below()
    under = np.where(sky | (above[:, None] < 0), -1.0, above[:, None]).max(1)  # [M, 64], of the highest row of a wall
    return np.where(under > 0, (WALL - EYE) / np.maximum(under, 1e-6) / np.cos(column_angles()), FAR)


def true_distances(dataset: ClipDataset, clips: Clips) -> Array | None:
    """Return metres to what is in each column at the clips' last frames, ``[M, 64]``; None in unknown worlds."""
    assert clips.index is not None
    rows = []
    for item, times in zip(clips.index.tolist(), clips.times[:, :, -1].tolist(), strict=True):
        path = Path(dataset.videos[int(dataset.kept[item])].path)
        world = ArenaWorld()
        if path.parent.parent.name != world.key:
            return None
        scene = ArenaScene(world, int(path.stem))
        poses = scene.drive.poses[[int(t * world.fps + 1e-6) for t in times]]
        rows.append(scene.arena.distances(poses[:, :2], poses[:, 2:] + column_angles())[0])
    return np.concatenate(rows)


def margins(distances: Array, steering: Array, step: float) -> Array:
    """Return how near a car comes on its way to what is seen, ``[M, H]`` metres by each step; the lower, the worse.

    Args:
        distances: ``[M, 64]`` metres to what is in each column of the picture.
        steering: ``[M, H]``.
        step: seconds.
    """
    angles, pose, lowest, found = column_angles(), np.zeros((len(steering), 3)), np.full(len(steering), FAR), []
    for way in steering.T:
        pose = arc(pose, way, np.full(len(way), SPEED * step))
        away, turn = np.hypot(pose[:, 0], pose[:, 1]), np.arctan2(pose[:, 1], pose[:, 0])
        half = np.maximum(np.arcsin(np.minimum(CAR / np.maximum(away, 1e-6), 1)), 0.03)
        hides = np.abs(angles - turn[:, None]) <= half[:, None]  # columns that the car would hide
        lowest = np.minimum(lowest, np.where(hides, distances, FAR).min(1) - away - CAR)
        found.append(lowest)
    return np.stack(found, 1)


if __name__ == "__main__":
    auto_cli(main)
