import numpy as np
import pytest
import torch

from avssl.labels import (
    EgoMotionFromPoses,
    EgoMotionFromVideo,
    MotionSegmentation,
    RelativeDepth,
    fit_camera,
    homography,
    homography_flow,
    ordinal_agreement,
    read_poses,
    relative_motion,
)
from avssl.labels.depth import percentile_ranks
from avssl.media import VideoInfo
from avssl.synthetic import Scene, World

WORLD = World(videos=16, size=96)


def clip_of(scene, times):
    frames = np.stack([scene.frame(t) for t in times]).transpose(0, 3, 1, 2)
    return torch.from_numpy(frames)[None], torch.tensor(times)[None]


def rigid_flow(turn, shift, depth, focal=1.0):
    """The exact flow of a camera that turns and moves before points at the given depth ``[H, W]``."""
    import cv2

    height, width = depth.shape
    matrix = np.array([[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1]])
    rows, columns = np.indices(depth.shape)
    pixels = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1).astype(float)
    points = np.linalg.inv(matrix) @ pixels * depth.reshape(-1)
    later = matrix @ (cv2.Rodrigues(np.array(turn, float))[0].T @ (points - np.array(shift, float)[:, None]))
    return (later[:2] / later[2] - pixels[:2]).reshape(2, height, width).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.2, 0, 0), (0, -0.2, 0.05), (0.1, 0.05, 0.2), (0, 0, -0.3)])
def test_a_flow_field_is_taken_apart_into_turn_direction_and_depth(shift):
    rng = np.random.default_rng(0)
    depth = 3 + 5 * rng.random((8, 8)).repeat(8, 0).repeat(8, 1)
    turn = (0.01, -0.015, 0.02)
    flow = rigid_flow(turn, shift, depth)
    flow[:, 20:30, 20:30] += 3.0  # something that moves by itself
    fit = fit_camera(flow)
    assert np.abs(fit.turn[:3] - turn).max() < 0.006
    unit = np.array(shift) / np.linalg.norm(shift)
    assert fit.direction @ unit > 0.97
    clear = np.ones(depth.shape, bool)
    clear[18:32, 18:32] = False
    clear &= fit.parallax > 0.3 * np.median(fit.parallax)
    near = torch.from_numpy(np.where(clear, -fit.closeness, np.nan))
    assert ordinal_agreement(near, torch.from_numpy(depth), torch.Generator().manual_seed(0)) > 0.93


def test_a_homography_is_found_below_what_moves_otherwise():
    true = np.array([[1.02, 0.01, 1.5], [-0.01, 1.01, -0.8], [1e-5, 2e-5, 1]])
    flow = homography_flow(true, (64, 80))
    flow[:, 10:35, 10:35] += 6
    found = homography(flow)
    assert np.abs(homography_flow(found, (64, 80)) - homography_flow(true, (64, 80))).max() < 0.6


def test_moving_objects_are_found_and_a_still_room_is_empty():
    overlaps = []
    for index in range(8):
        scene = Scene(WORLD, index)
        times = [1.0 + 0.04 * k for k in range(5)]
        trimap = MotionSegmentation()(*clip_of(scene, times), None)[0].numpy()
        truth = scene.masks(times[2]).any(0)
        overlaps.append(((trimap == 1) & truth).sum() / (((trimap == 1) | truth) & (trimap >= 0)).sum())
    assert np.mean(overlaps) > 0.4  # some of them rest at that moment
    frozen = clip_of(scene, [1.0])[0].expand(-1, 5, -1, -1, -1)
    assert not (MotionSegmentation()(frozen, torch.arange(5)[None] * 0.04, None) == 1).any()


def test_depth_is_ordered_as_in_the_world_and_unknown_where_the_camera_rests():
    agreements = []
    for index in range(6):
        scene = Scene(WORLD, index)
        depth = RelativeDepth()(*clip_of(scene, [0.6, 1.0, 1.4]), None)[0]
        still = torch.from_numpy(scene.surfaces(1.0) < 5)
        depth = torch.where(still, depth, torch.nan)
        rng = torch.Generator().manual_seed(0)
        agreements.append(ordinal_agreement(depth, torch.from_numpy(scene.depth(1.0)), rng))
    assert np.nanmean(agreements) > 0.65
    frozen = clip_of(scene, [1.0])[0].expand(-1, 3, -1, -1, -1)
    assert torch.isnan(RelativeDepth()(frozen, torch.arange(3)[None] * 0.4, None)).all()


def test_ranks_are_percentiles_of_what_is_known():
    ranks = percentile_ranks(np.array([[30.0, np.nan], [-1.0, 7.0]]))
    assert ranks[~np.isnan(ranks)].tolist() == [1, 0, 0.5]
    assert np.isnan(ranks[0, 1])


def test_ordinal_agreement_is_one_for_any_monotonic_change_and_zero_reversed():
    depth = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    assert ordinal_agreement(depth.exp() * 5, depth) == 1
    assert ordinal_agreement(-depth, depth) == 0


def test_all_forms_of_poses_say_the_same(tmp_path):
    import cv2

    turned, place = cv2.Rodrigues(np.array([0.1, -0.2, 0.3]))[0], np.array([1.0, 2.0, 3.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turned, place
    angle = np.linalg.norm([0.1, -0.2, 0.3])
    quaternion = [*(np.sin(angle / 2) / angle * np.array([0.1, -0.2, 0.3])), np.cos(angle / 2)]
    rows = {"kitti": matrix[:3].ravel(), "seven": matrix.ravel(), "tum": np.concatenate([[5.5], place, quaternion])}
    for name, row in rows.items():
        path = tmp_path / name
        np.savetxt(path, np.stack([row, row]))
        assert np.allclose(read_poses(path)[1], matrix, atol=1e-6), name
    np.savetxt(tmp_path / "odd", np.ones((2, 7)))
    with pytest.raises(ValueError, match="got 7"):
        read_poses(tmp_path / "odd")


def test_half_a_turn_is_told_as_one():
    first, last = np.eye(4), np.diag([-1.0, 1.0, -1.0, 1.0])  # about the axis that points down
    assert np.allclose(np.abs(relative_motion(first, last)), [0, np.pi, 0, 0, 0, 0])


def test_relative_motion_is_in_the_convention_of_the_world():
    scene = Scene(WORLD, 3)
    camera = scene._camera
    poses = []
    for t in (0.5, 1.5):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = camera.rotation(t).T, camera.position(t)
        poses.append(pose)
    truth = scene.ego_motion(0.5, 1.5)
    assert np.allclose(relative_motion(*poses), [*truth.rotation, *truth.translation], atol=1e-9)


def test_classes_come_from_the_rows_that_the_times_name(tmp_path):
    poses = np.tile(np.eye(4), (50, 1, 1))
    poses[:, 2, 3] = np.arange(50) * 0.03  # ahead, 3 cm a frame
    np.savetxt(tmp_path / "drive.poses.txt", poses[:, :3].reshape(50, 12))
    info = VideoInfo(tmp_path / "drive.mp4", 2.0, 25.0, (64, 64))
    labeller = EgoMotionFromPoses(bins=21, shift=0.2)
    frames = torch.zeros(2, 2, 3, 8, 8, dtype=torch.uint8)
    classes = labeller(frames, torch.tensor([[0.4, 0.48], [0.48, 0.4]]).double(), info)
    assert classes[0].tolist() == [10] * 5 + [classes[0, 5].item()]
    assert classes[0, 5] > 10
    assert classes[1, 5] == 20 - classes[0, 5]  # backwards is the opposite
    with pytest.raises(ValueError, match="50 poses"):
        labeller(frames, torch.tensor([[0.0, 2.5]] * 2).double(), info)
    with pytest.raises(ValueError, match="no poses at"):
        labeller(frames, torch.zeros(2, 2), VideoInfo(tmp_path / "other.mp4", 2.0, 25.0, (64, 64)))


def test_estimated_turns_agree_with_the_world_and_flip_with_the_picture():
    agree, mirrored = [], []
    labeller = EgoMotionFromVideo(bins=20, turn=0.05)
    world = World(videos=48, size=96)  # turns are a few milliradians: fewer scenes say little
    for index in range(world.videos):
        scene = Scene(world, index)
        frames, times = clip_of(scene, [1.0, 1.3])
        classes, flipped = labeller(frames, times, None)[0], labeller(frames.flip(-1), times, None)[0]
        truth = scene.ego_motion(1.0, 1.3).rotation
        agree += [(classes[axis] >= 10).item() == (truth[axis] > 0) for axis in range(3)]
        mirrored += [abs((classes[axis] + flipped[axis]).item() - 19) <= 2 for axis in (1, 2)]
    assert np.mean(agree) > 0.8
    assert np.mean(mirrored) > 0.7
