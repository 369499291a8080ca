import numpy as np
import torch

from avssl.labels import Tracks
from avssl.labels.tracks import fastest
from avssl.synthetic import Scene, World

TIMES = torch.arange(6, dtype=torch.float64)[None] * 0.12


def test_windows_are_on_the_same_thing_at_both_ends_of_a_track():
    world = World(videos=32, size=96)
    found, right = 0, 0
    for index in range(24):
        scene = Scene(world, index)
        seconds = [0.6 + 0.12 * k for k in range(8)]
        frames = torch.from_numpy(np.stack([scene.frame(t) for t in seconds]).transpose(0, 3, 1, 2))
        first, last = Tracks()(frames[None], torch.tensor([seconds]), None)[0].numpy()
        if not first.any():
            continue
        found += 1
        begin, end = scene.circles(seconds[0]), scene.circles(seconds[-1])  # [2, 3]
        start, stop = ((box[:2] + box[2:]) / 2 for box in (first, last))
        thing = np.hypot(*(begin[:, :2] - start).T).argmin()
        near = np.hypot(*(begin[thing, :2] - start)) < begin[thing, 2] + 4
        right += bool(near and np.hypot(*(end[thing, :2] - stop)) < end[thing, 2] + 4)
    assert found >= 8
    assert right >= 0.85 * found


def test_a_patch_that_slides_is_followed_to_the_pixel_and_what_stands_has_no_track():
    rng = np.random.default_rng(0)
    ground = torch.from_numpy(rng.integers(90, 130, (24, 24), dtype=np.uint8))
    ground = torch.nn.functional.interpolate(ground[None, None].float(), (96, 96), mode="bicubic")[0, 0]
    thing = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 8) * 255, (24, 24), mode="bicubic")[0, 0]
    frames = ground.repeat(6, 1, 1)
    for k in range(6):
        frames[k, 40 : 40 + 24, 10 + 4 * k : 34 + 4 * k] = thing
    clips = frames.clamp(0, 255).byte()[None, :, None].expand(-1, -1, 3, -1, -1)
    first, last = Tracks()(clips, TIMES, None)[0]
    assert torch.allclose(last - first, torch.tensor([20.0, 0.0, 20.0, 0.0]), atol=1.5)
    assert first[0] <= 12
    assert first[2] >= 32
    still = clips[:, :1].expand(-1, 6, -1, -1, -1)
    assert not Tracks()(still, TIMES, None).any()
    across = torch.stack([clips[0, 0].roll(3 * k, 2) for k in range(6)])[None]
    assert not Tracks()(across, TIMES, None).any()  # the camera turns: nothing moves against it


def test_the_fastest_window_is_the_one_with_the_largest_mean():
    speed = np.random.default_rng(1).random((20, 30)).astype(np.float32)
    left, top = fastest(speed, 7)
    every = {(x, y): speed[y : y + 7, x : x + 7].mean() for x in range(24) for y in range(14)}
    assert (left, top) == max(every, key=every.get)
