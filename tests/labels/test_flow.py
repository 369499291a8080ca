import math

import numpy as np
import pytest
import torch

from avssl.labels import AtomicFlow, OpticalFlow, dis_flow, flow_picture, scene_flow
from avssl.synthetic import Scene, World


def textured(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 1, height // 4 + 2, width // 4 + 2), np.float32))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0, 0].clamp(0, 1) * 255


@pytest.mark.parametrize("shift", [(2, 1), (-1, 3)])
def test_flow_of_a_shifted_picture_is_the_shift(shift):
    large = textured(80, 96)
    across, down = shift
    first, second = large[8:72, 8:88], large[8 - down : 72 - down, 8 - across : 88 - across]
    flow = dis_flow(*(picture.byte().numpy() for picture in (first, second)))
    inner = flow[:, 8:-8, 8:-8]
    assert np.abs(inner - np.array(shift)[:, None, None]).max() < 0.3


def test_flow_follows_the_truth_of_the_synthetic_world():
    world = World(videos=8, size=96)
    errors, still = [], []
    for index in range(4):
        scene = Scene(world, index)
        pair = torch.from_numpy(np.stack([scene.frame(t) for t in (1.0, 1.08)]).transpose(0, 3, 1, 2))
        flow = OpticalFlow()(pair[None], torch.tensor([[1.0, 1.08]]), None)[0, 0].numpy()
        truth, seen = scene.flow(1.0, 1.08), scene.visible(1.0, 1.08)
        errors.append(np.hypot(*(flow - truth))[seen].mean())
        still.append(np.hypot(*truth)[seen].mean())
    assert np.mean(errors) < 0.35 * np.mean(still)


def test_atoms_are_still_or_a_direction_at_a_speed():
    atoms = AtomicFlow(grid=1, directions=4, speeds=(0.1, 1.0))
    assert atoms.classes == 9
    cases = {
        (0.05, 0.05): 0,
        (0.5, 0.1): 1,
        (0.1, 0.5): 2,
        (-0.5, 0.1): 3,
        (0.0, -0.5): 4,
        (2.0, 0.0): 5,
        (0.0, -2.0): 8,
    }
    for velocity, number in cases.items():
        assert atoms.quantise(torch.tensor(velocity).view(2, 1, 1)).item() == number
    every = atoms.velocities()  # each class is that of its own velocity
    assert atoms.quantise(every[:, :, None, None]).flatten().tolist() == list(range(9))


def test_atoms_do_not_depend_on_size_nor_on_the_distance_between_frames():
    large = textured(160, 192)
    atoms = AtomicFlow(grid=2, speeds=(0.1,))

    def classes(step, scale, seconds):
        frames = torch.stack([large[16:144, 16 - k * step : 144 - k * step] for k in range(2)])[None, :, None]
        frames = torch.nn.functional.avg_pool2d(frames[:, :, 0], scale)[:, :, None].expand(-1, -1, 3, -1, -1)
        return atoms(frames.byte(), torch.tensor([[0.0, seconds]]), None)

    assert torch.equal(classes(4, 1, 0.1), classes(8, 2, 0.2))
    assert (classes(4, 1, 0.1) == 1).all()  # to the right
    assert (classes(4, 1, 10.0) == 0).all()  # so slowly that it counts as still


def test_scene_flow_of_what_stands_still_is_the_cameras_motion():
    scene = Scene(World(videos=8, size=96), 3)
    t0, t1 = 1.0, 1.4
    moved = scene_flow(
        scene.flow(t0, t1), (scene.depth(t0), scene.depth(t1)), (scene.intrinsics(t0), scene.intrinsics(t1))
    )
    ego = scene.ego_motion(t0, t1)
    import cv2

    turn = cv2.Rodrigues(ego.rotation)[0].T
    rows, columns = np.indices(moved.shape[1:])
    rays = np.linalg.inv(scene.intrinsics(t0)) @ np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    points = rays * scene.depth(t0).reshape(-1)
    expected = (turn @ (points - ego.translation[:, None]) - points).reshape(moved.shape)
    wall = (scene.surfaces(t0) == 0) & scene.visible(t0, t1) & np.isfinite(moved).all(0)
    assert wall.sum() > 1000
    assert np.abs(moved - expected)[:, wall].max() < 0.08  # the later depth is that of the nearest pixel
    actors = scene.masks(t0).any(0) & scene.visible(t0, t1) & np.isfinite(moved).all(0)
    assert np.linalg.norm(moved - expected, axis=0)[actors].mean() > 0.1  # these move by themselves


def test_opposite_directions_have_opposite_colours():
    flow = torch.zeros(2, 1, 3)
    flow[0, 0, 0], flow[0, 0, 1] = 1.0, -1.0
    right, left, still = flow_picture(flow, 1.0).unbind(-1)
    assert torch.allclose(right + left, torch.ones_like(right), atol=1e-5)
    assert still.abs().max() == 0
    assert math.isclose(right[0].item(), 1.0, abs_tol=1e-5)
