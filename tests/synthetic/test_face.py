"""The face world: its files hold what its ground truth says, and the mouth is where the sound comes from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avssl.media import open_video, probe
from avssl.synthetic import LANDMARKS, PARTS, TRUTH, FaceScene, FaceWorld, write_world
from avssl.synthetic.face_looks import texels
from avssl.synthetic.face_mesh import EXPRESSION, IDENTITY, POSE, face_mesh

WORLD = FaceWorld(videos=8, phone=0.5)
TIMES = np.arange(0.1, 2.4, 0.3)


def test_files_hold_the_frames_the_voice_and_the_code(tmp_path: Path) -> None:
    world = FaceWorld(videos=2, seconds=1.0, size=64, phone=0.5)
    write_world(world, tmp_path, workers=1)
    assert [world.path(index) for index in range(2)] == ["studio/00000.mp4", "phone/00001.mp4"]
    for index in range(2):
        scene, info = FaceScene(world, index), probe(tmp_path / world.path(index))
        with open_video(info.path, info=info) as reader:
            shown = reader.frames(torch.tensor([0.4]))[0].permute(1, 2, 0).numpy()
        assert np.abs(shown.astype(float) - scene.frame(0.4)).mean() < 8
        table = np.genfromtxt(info.path.with_suffix(TRUTH), delimiter=",", names=True)
        assert table.dtype.names == ("time", *IDENTITY, *EXPRESSION, *POSE)
        rows = np.stack([table[name] for name in table.dtype.names], 1)
        times = rows[:, 0]
        assert np.allclose(np.diff(times), 1 / world.fps)
        assert np.allclose(rows[:, 1:], np.concatenate([scene.code(times), scene.pose(times)], 1), atol=1e-6)


def test_landmarks_are_the_meshs_points_turned_by_another_librarys_rotations() -> None:
    mesh, size = face_mesh(), WORLD.size
    for index in range(WORLD.videos):
        scene = FaceScene(WORLD, index)
        code, pose, found = scene.code(TIMES), scene.pose(TIMES), scene.landmarks(TIMES)
        for number, (yaw, pitch, roll, scale, x, y) in enumerate(pose):
            turn = Rotation.from_euler("yxz", [yaw, -pitch, roll])  # about axes that stay: y, then x, then z
            for place, point in enumerate(mesh.landmarks):
                solid = mesh.mean[point].copy()
                for share, moves in zip(code[number], [*mesh.identity, *mesh.expression], strict=True):
                    solid += share * moves[point]
                at = scale * size * turn.apply(solid)[:2] + (np.array([x, y]) + 1) * size / 2 - 0.5
                assert np.allclose(found[number, place], at, atol=1e-9), LANDMARKS[place]


def test_dots_painted_on_the_texture_are_seen_where_the_landmarks_are() -> None:
    """Geometry from pixels alone: everything is black but for a dot on one landmark."""
    mesh, away = face_mesh(), []
    for index in range(0, WORLD.videos, 2):
        scene = FaceScene(WORLD, index)
        texture = scene._person.texture
        y, x = np.mgrid[: texture.shape[0], : texture.shape[1]]
        for landmark in ("nose_tip", "right_eye_inner", "left_brow", "lip_upper"):
            point = mesh.landmarks[LANDMARKS.index(landmark)]
            middle = texels(mesh.mean[point, :2])
            near = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / 2**2)
            texture[:] = (250 * near[..., None]).astype(np.float32)
            for t in TIMES[::3]:
                canvas = np.zeros((WORLD.size, WORLD.size, 3), np.float32)
                scene._draw_face(canvas, scene.points(np.array([t]))[0])
                light = canvas.sum(2)
                rows, columns = np.mgrid[: WORLD.size, : WORLD.size]
                seen = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
                away.append(seen - scene.landmarks(np.array([t]))[0, LANDMARKS.index(landmark)])
    assert np.linalg.norm(away, axis=1).mean() < 0.6
    assert np.abs(np.mean(away, axis=0)).max() < 0.2


def test_parts_lie_around_their_landmarks() -> None:
    for index in range(WORLD.videos):
        scene = FaceScene(WORLD, index)
        for t in TIMES[::2]:
            parts, marks = scene.parts(t), scene.landmarks(np.array([t]))[0]
            unit = scene.pose(np.array([t]))[0, 3] * WORLD.size
            for part, names in {
                "right_eye": ("right_eye_outer", "right_eye_inner"),
                "left_eye": ("left_eye_outer", "left_eye_inner"),
                "mouth": ("mouth_right", "mouth_left", "lip_upper"),
                "nose": ("nose_tip",),
            }.items():
                rows, columns = np.nonzero(parts == PARTS.index(part))
                middle = np.mean([marks[LANDMARKS.index(name)] for name in names], axis=0)
                assert np.hypot(columns.mean() - middle[0], rows.mean() - middle[1]) < 0.45 * unit, part
    assert {*np.unique(parts)} == {*range(len(PARTS))}


def test_the_mouth_drives_the_voice() -> None:
    for index in range(WORLD.videos):
        scene = FaceScene(WORLD, index)
        blocks = scene.sound()[: 160 * 240].astype(np.float64).reshape(240, 160)  # of 10 ms
        times = (np.arange(240) + 0.5) / 100
        loud = np.sqrt(np.square(blocks).mean(1))
        marks = scene.points(times)
        inner = [face_mesh().names.index(name) for name in ("inner_upper", "inner_lower")]
        gap = np.linalg.norm(np.diff(marks[:, inner, :2], axis=1)[:, 0], axis=1)
        assert np.corrcoef(loud, gap)[0, 1] > 0.8
        assert loud[gap < 0.15 * gap.max()].mean() < 0.2 * loud.max()


def test_both_domains_show_different_people_of_one_distribution() -> None:
    studio, phone = FaceWorld(videos=150), FaceWorld(videos=150, phone=1.0)
    codes = [np.stack([FaceScene(world, index).identity for index in range(150)]) for world in (studio, phone)]
    assert np.abs(codes[0][:, None] - codes[1]).sum(2).min() > 0.1
    assert np.abs(codes[0].mean(0) - codes[1].mean(0)).max() < 0.45
    with pytest.raises(ValueError, match="share from 0 to 1"):
        FaceWorld(phone=2)
    with pytest.raises(IndexError, match="150 scenes"):
        FaceScene(studio, 150)
