import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from avssl.labels import AtomicSceneFlow, RecordedDepth, scene_flow
from avssl.media import open_video
from avssl.synthetic import Scene, World, write_world


def frames_of(path, times, size=64):
    with open_video(path) as reader:
        return reader.frames(times.flatten(), size=(size, size)).unflatten(0, times.shape), reader.info


def test_each_frame_gets_the_map_of_its_number(depths):
    times = torch.tensor([[0.0, 0.5], [0.99, 1.9]], dtype=torch.float64)
    path = sorted(depths.glob("*/00003.mp4"))[0]
    frames, info = frames_of(path, times)
    found = RecordedDepth()(frames, times, info)
    scene = Scene(World(videos=16, seconds=2.0, size=64, depth=True), 3)
    for place, number in (((0, 0), 0), ((0, 1), 12), ((1, 0), 24), ((1, 1), 47)):
        assert np.abs(found[place].numpy() - scene.depth(number / 25)).max() < 0.001


def test_what_the_camera_did_not_see_and_frames_without_a_map_are_not_known(depths, tmp_path):
    path = sorted(depths.glob("*/00003.mp4"))[0]
    times = torch.tensor([[0.0, 0.4, 0.42]], dtype=torch.float64)
    frames, info = frames_of(path, times, 4)
    steps = np.full((4, 4), 2500, np.uint16)
    steps[0, 0], steps[0, 1] = 0, 65535
    cv2.imwrite(str(tmp_path / "frame-000010.depth.png"), cv2.resize(steps, (8, 8), interpolation=cv2.INTER_NEAREST))
    found = RecordedDepth(tmp_path)(frames, times, info)
    assert found[0, 0].max() == 0
    assert torch.equal(found[0, 1], found[0, 2])  # one frame is shown at both times
    assert found[0, 1].flatten().tolist() == [0, 0] + [2.5] * 14


def test_missing_and_broken_maps_are_named(depths, tmp_path):
    path = sorted(depths.glob("*/00003.mp4"))[0]
    times = torch.zeros(1, 1, dtype=torch.float64)
    frames, info = frames_of(path, times, 8)
    with pytest.raises(ValueError, match=r"00003.mp4: no depth maps in .*nowhere; put them there, or set"):
        RecordedDepth(tmp_path / "nowhere")(frames, times, info)
    with pytest.raises(ValueError, match="no depth maps"):
        RecordedDepth(tmp_path)(frames, times, info)
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"0.png: expected a depth map, a 16-bit single-channel image"):
        RecordedDepth(tmp_path)(frames, times, info)
    (tmp_path / "a00.png").touch()
    with pytest.raises(ValueError, match=r"0.png and .*a00.png are both of frame 0"):
        RecordedDepth(tmp_path)(frames, times, info)


def test_atoms_in_space_are_still_or_one_of_26_ways_at_a_speed():
    atoms = AtomicSceneFlow(grid=1, speeds=(0.5, 2.0))
    assert atoms.classes == 53
    every = atoms.velocities()
    assert atoms.quantise(every[:, :, None, None]).flatten().tolist() == list(range(53))
    assert atoms.quantise(torch.tensor([0.2, 0.2, torch.nan]).view(3, 1, 1)).item() == 0


def test_a_picture_that_does_not_divide_into_cells_is_refused(depths):
    times = torch.tensor([[0.0, 0.4]], dtype=torch.float64)
    frames, info = frames_of(sorted(depths.glob("*/00003.mp4"))[0], times, 64)
    with pytest.raises(ValueError, match="64 x 64 pixels can't be divided into 24 x 24 equal cells"):
        AtomicSceneFlow(grid=24)(frames, times, info)


def test_atoms_in_space_agree_with_the_true_motion_in_the_synthetic_world(tmp_path):
    world, atoms = World(videos=40, seconds=1.0, depth=True), AtomicSceneFlow(grid=16, focal=1.15, speeds=(1.0,))
    root, t0, t1 = write_world(world, tmp_path, workers=1), 0.6, 0.76
    told, true, still = [], [], []
    for index in range(world.videos):
        scene = Scene(world, index)
        frames, info = frames_of(root / world.path(index), torch.tensor([[t0, t1]], dtype=torch.float64), world.size)
        told.append(atoms(frames, torch.tensor([[t0, t1]], dtype=torch.float64), info)[0, 0])
        views, depth = (scene.intrinsics(t0), scene.intrinsics(t1)), (scene.depth(t0), scene.depth(t1))
        moved = torch.from_numpy(scene_flow(scene.flow(t0, t1), depth, views))
        acting = torch.from_numpy(scene.masks(t0).any(0)).float()
        whole = atoms.by_cells(acting) == 1  # of the median pixel
        some = F.adaptive_max_pool2d(acting[None], atoms.grid)[0] == 1
        true.append((atoms.by_cells(moved) / (t1 - t0)).where(whole, torch.nan))
        still.append(~some)
    told, true = torch.stack(told), torch.stack(true)  # [V, g, g], [V, 3, g, g]
    fast = true.norm(dim=1) > 1.5  # things that act, half again as fast as what counts as moving
    ways = atoms.velocities()[told[fast]]
    cosine = torch.cosine_similarity(ways, true.movedim(1, -1)[fast])
    assert fast.sum() > 50
    assert (told[fast] > 0).float().mean() > 0.7
    assert (cosine[told[fast] > 0] > 0.7).float().mean() > 0.7  # 45 degrees; at random a sixth is
    assert (told[torch.stack(still)] == 0).float().mean() > 0.9
