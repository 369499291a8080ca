"""The arena: distances, crashes and pictures against computations that share nothing with the ray caster."""

import numpy as np
import pytest
import torch

from avssl.labels import read_actions
from avssl.media import open_video, probe
from avssl.synthetic import Arena, ArenaScene, ArenaWorld, write_world
from avssl.synthetic.arena import CAR, SIDE, SPEED, WALL, column_angles
from avssl.synthetic.driving import BACK, arc, free, random_steerings

WORLD = ArenaWorld(videos=2, seconds=8.0)


@pytest.fixture(scope="module")
def scene() -> ArenaScene:
    return ArenaScene(WORLD, 1)


def test_distances_are_those_of_a_march_along_the_ray() -> None:
    """By a march of 4 mm a step that asks only whether a point lies in a pillar or outside."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arena = Arena(rng, rng)
        start, angles = arena.start(rng), rng.uniform(-np.pi, np.pi, 60)
        found, met = arena.distances(start[None, :2], angles[None])
        steps = np.arange(0, 30, 0.004)
        x, y = (start[axis] + steps * way[:, None] for axis, way in ((0, np.cos(angles)), (1, np.sin(angles))))
        hit = np.stack(
            [(x - a) ** 2 + (y - b) ** 2 < r * r for (a, b), r in zip(arena.centres, arena.radii, strict=True)]
        )
        outside = np.stack([x > SIDE / 2, x < -SIDE / 2, y > SIDE / 2, y < -SIDE / 2])
        every = np.concatenate([hit, outside])  # [16, 60, steps]
        first = every.any(0).argmax(1)
        assert np.abs(found[0] - steps[first]).max() < 0.005
        touched = every[:, np.arange(60), first]  # [16, 60]; in a corner two walls
        assert touched[met[0], np.arange(60)].all()
        assert len(np.unique(met)) > 6


def test_a_way_is_that_of_a_car_that_turns_little_by_little() -> None:
    for steering, metres in ((0.7, 2.0), (-1.0, 3.0), (0.0, 1.0), (1.0, -2.0)):
        pose, part = np.array([1.0, -2.0, 0.4]), metres / 2000
        for _ in range(2000):
            pose = pose + part * np.array([np.cos(pose[2]), np.sin(pose[2]), steering / 1.5])
        assert np.allclose(arc(np.array([1.0, -2.0, 0.4]), np.array(steering), np.array(metres)), pose, atol=3e-3)


def test_a_car_stops_where_it_touches_and_nowhere_else(scene: ArenaScene) -> None:
    rng, arena = np.random.default_rng(5), scene.arena
    poses = np.stack([arena.start(rng) for _ in range(200)])
    steering, asked = rng.uniform(-1, 1, 200), np.full(200, 2.5)
    done = free(arena, poses, steering, asked)
    gaps = np.stack([arena.clearance(arc(poses, steering, done * share)[:, :2]) for share in np.linspace(0, 1, 50)])
    assert gaps.min() > CAR - 1e-3
    stopped = done < asked
    assert 20 < stopped.sum() < 180
    assert np.abs(gaps[-1][stopped] - CAR).max() < 1e-3


def test_a_drive_crashes_where_something_is_and_backs_up(scene: ArenaScene) -> None:
    drive = scene.drive
    crashed = ~np.isnan(drive.crashes)
    assert crashed.any()
    for row in np.flatnonzero(crashed[:-1]):
        assert np.isclose(scene.arena.clearance(drive.poses[row + 1, :2]), CAR, atol=1e-3)
        assert drive.speed[row] == SPEED
        assert drive.speed[row + 1] == -BACK
        since = drive.crashes[row] - row / WORLD.fps
        gone = np.linalg.norm(drive.poses[row + 1, :2] - drive.poses[row, :2])
        assert 0 <= since < 1 / WORLD.fps
        assert np.isclose(gone, SPEED * since, rtol=0.01, atol=1e-6)  # of an arc, its chord
    assert (scene.arena.clearance(drive.poses[:, :2]) > CAR - 1e-3).all()


def test_what_stands_nearer_stands_higher_in_the_picture(scene: ArenaScene) -> None:
    """Distances from the pixels alone, by the height of the walls, against those of the ray caster."""
    rng = np.random.default_rng(1)
    poses = np.stack([scene.arena.start(rng) for _ in range(40)])
    distances, _ = scene.arena.distances(poses[:, :2], poses[:, 2:] + column_angles())
    sky = (scene.arena.frames(poses) == scene.arena.frames(poses)[:, :1, :1]).all(-1)
    depth = distances * np.cos(column_angles())
    near = (depth > 2) & (depth < 6) & sky[:, 0]  # else a wall is cut off, or too small
    rows = 36 - sky.sum(1)[near]  # below the edge, of the 18 above the horizon and the 18 below
    focal = 32 / np.tan(np.radians(50))
    seen = (WALL - 0.45) * focal / (rows - 18)
    assert near.sum() > 300
    assert np.median(np.abs(seen / depth[near] - 1)) < 0.06


def test_files_hold_what_the_car_sees_and_does(tmp_path) -> None:
    root = write_world(WORLD, tmp_path / "arena", workers=1)
    for index in range(2):
        own, path = ArenaScene(WORLD, index), root / WORLD.path(index)
        info = probe(path)
        assert info.size == (36, 64)
        with open_video(path, info=info) as reader:
            shown = reader.frames(torch.arange(32) / 4).permute(0, 2, 3, 1).numpy()
        assert np.abs(shown.astype(float) - own.arena.frames(own.drive.poses)).mean() < 6
        rows = read_actions(path.with_suffix(".actions.csv"))
        assert np.allclose(rows.steering, own.drive.steering, atol=1e-4)
        assert np.array_equal(rows.collided, ~np.isnan(own.drive.crashes))
        assert np.array_equal(rows.speed < 0, own.drive.speed < 0)
    with pytest.raises(IndexError, match="has 2 drives"):
        ArenaScene(WORLD, 2)
    with pytest.raises(ValueError, match="whole number of samples"):
        ArenaWorld(fps=7)


def test_random_steering_is_held_for_some_steps() -> None:
    drawn = random_steerings(np.random.default_rng(0), 400, 16)
    assert np.abs(drawn).max() <= 1
    assert 0.6 < (np.diff(drawn) == 0).mean() < 0.7
    assert abs(drawn.mean()) < 0.05
