"""The sphere world: its files hold what its ground truth says, and sound comes from where the picture shows it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avssl.media import open_video, probe
from avssl.synthetic import SphereScene, SphereWorld, write_world
from avssl.synthetic.sphere import MOVING, SOUNDING

WORLD = SphereWorld(videos=12, seconds=3.0, height=48)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(SphereWorld(videos=2, seconds=2.0, height=32), tmp_path_factory.mktemp("sphere"), workers=1)


def test_files_hold_four_channels_without_loss_and_pictures_twice_as_wide_as_high(written: Path) -> None:
    world = SphereWorld(videos=2, seconds=2.0, height=32)
    for index in range(2):
        scene, info = SphereScene(world, index), probe(written / world.path(index))
        assert info.size == (32, 64)
        assert info.audio is not None
        assert (info.audio.channels, info.audio.codec) == (4, "flac")
        with open_video(info.path, info=info) as reader:
            heard = reader.audio(0, 2.0, world.rate, 4).samples.numpy()
            shown = reader.frames(torch.tensor([1.0]))[0].permute(1, 2, 0).numpy()
        assert np.abs(heard - scene.sound()).max() < 1.1 / 32768
        assert np.abs(shown.astype(float) - scene.frame(1.0)).mean() < 6
    with pytest.raises(ValueError, match="holds another synthetic world"):
        write_world(world.__class__(videos=3, height=32), written)


def test_sound_comes_from_where_the_picture_shows_the_thing_that_makes_it() -> None:
    """Directions from the samples alone against directions from the pixels alone."""
    away = []
    for index in range(WORLD.videos):
        scene = SphereScene(WORLD, index)
        w, y, z, x = scene.sound().astype(np.float64)
        height, width = WORLD.shape
        for start in np.arange(0.05, WORLD.seconds - 0.1, 0.05):
            span = slice(round(start * WORLD.rate), round((start + 0.05) * WORLD.rate))
            power = np.square(scene.dry[:, span]).mean(1)
            if power.max() < 1e-4 or power.min() > 0.01 * power.max():
                continue
            mask = scene.masks(start + 0.025)[power.argmax()]
            if mask.sum() < 6 or mask[:, [0, -1]].any():
                continue
            heard = np.array([np.mean(w[span] * part[span]) for part in (x, y, z)])
            rows, columns = np.nonzero(mask)
            azimuth = np.pi * (1 - 2 * (columns.mean() + 0.5) / width)
            elevation = np.pi * (0.5 - (rows.mean() + 0.5) / height)
            across = np.degrees(np.arctan2(heard[1], heard[0]) - azimuth)
            up = np.degrees(np.arctan2(heard[2], np.hypot(heard[0], heard[1])) - elevation)
            away.append((abs((across + 180) % 360 - 180), abs(up)))
    assert len(away) > 40
    assert np.median(away, axis=0).max() < 5
    assert np.quantile(away, 0.9, axis=0).max() < 15  # others in front of it move its middle


def test_only_the_sounding_things_sound_and_only_when_they_move() -> None:
    still, moving = [], []
    for index in range(6):
        scene = SphereScene(WORLD, index)
        times = np.arange(0.1, WORLD.seconds - 0.3, 0.1)
        for number in range(SOUNDING):
            for start in times:
                before, after = scene.directions(np.array([start, start + 0.1]))[number]
                level = scene.dry[number][round(start * WORLD.rate) : round((start + 0.1) * WORLD.rate)].std()
                (moving if np.linalg.norm(after - before) > 0.05 else still).append(level)
        moved = np.ptp(scene.places(times), axis=1).max(1)
        assert (moved[:MOVING] > 0.1).all()
        assert (moved[MOVING:] == 0).all()
    assert np.median(moving) > 4 * np.median(still)  # a blow rings on


def test_the_wall_closes_behind_the_camera() -> None:
    for index in range(4):
        wall = SphereScene(WORLD, index)._textures[0]
        within = np.abs(np.diff(wall, axis=1)).mean()
        assert np.abs(wall[:, 0] - wall[:, -1]).mean() < 2 * within
