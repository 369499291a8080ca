"""The synthetic world: its files are what its ground truth says, and its actions need motion to be told apart."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import av
import cv2
import forked
import numpy as np
import pytest

from avssl.synthetic import CLASSES, Scene, World, default_folder, write_world
from avssl.synthetic.actions import ACTIONS, GRAVITY, Hops, Pair
from avssl.synthetic.audit import decode, motion_features, onset_errors, psnr, shortcuts
from avssl.synthetic.scene import ACTORS, PROPS

SMALL = World(videos=16, seconds=2.0)
EIGHT = range(len(CLASSES))


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.glob("*/*.mp4"))}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(SMALL, tmp_path_factory.mktemp("world"), workers=2)


# The files


def test_there_is_a_file_for_each_scene_in_its_class_folder(written: Path) -> None:
    assert list(digests(written)) == sorted(SMALL.path(i) for i in range(SMALL.videos))
    assert sorted(p.name for p in written.iterdir() if p.is_dir()) == list(CLASSES)


def test_decoded_pictures_are_those_of_the_scene_at_their_times(written: Path) -> None:
    for index in EIGHT:
        times, pictures, _ = decode(written / SMALL.path(index), SMALL.rate)
        np.testing.assert_allclose(times, np.arange(SMALL.num_frames) / SMALL.fps, atol=1e-6)
        scene = Scene(SMALL, index)
        for k in (0, 1, 17, SMALL.num_frames - 1):
            assert psnr(pictures[k], scene.frame(k / SMALL.fps)) > 28, (index, k)


def test_impacts_are_heard_within_a_millisecond(written: Path) -> None:
    errors = []
    for index in range(SMALL.videos):
        *_, sound = decode(written / SMALL.path(index), SMALL.rate)
        assert abs(len(sound) / SMALL.rate - SMALL.seconds) < 0.07  # the encoder's last frame may be padded
        errors.append(onset_errors(Scene(SMALL, index), sound))
    assert sum(map(len, errors)) > 20
    assert np.abs(np.concatenate(errors)).max() <= 0.001


def test_the_decoded_sound_lies_on_the_rendered_sound(written: Path) -> None:
    for index in EIGHT:
        *_, sound = decode(written / SMALL.path(index), SMALL.rate)
        truth = Scene(SMALL, index).sound()
        product = np.fft.irfft(np.fft.rfft(sound[: len(truth)]) * np.fft.rfft(truth).conj())
        assert np.argmax(product) == 0
        assert np.abs(truth[:800]).max() > 0.001  # never digitally silent


def test_files_do_not_depend_on_the_number_of_workers(written: Path, tmp_path: Path) -> None:
    few = World(videos=5, seconds=2.0)
    alone, together = (digests(write_world(few, tmp_path / str(n), workers=n)) for n in (1, 2))
    assert alone == together
    assert alone.items() <= digests(written).items()  # nor on the number of scenes


def test_a_killed_writer_leaves_whole_files_and_the_next_call_completes(written: Path, tmp_path: Path) -> None:
    call = "import sys; from pathlib import Path; from avssl.synthetic import *;"
    call += f"write_world(World(videos=6, seconds=2.0), Path({str(tmp_path)!r}), workers=2)"
    process = forked.start([sys.executable, "-c", call])
    while not digests(tmp_path):
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)  # the writer alone: its workers must end by themselves
    process.wait()
    assert not (tmp_path / "world.json").exists()
    write_world(World(videos=6, seconds=2.0), tmp_path, workers=1)
    assert len(digests(tmp_path)) == 6
    assert digests(tmp_path).items() <= digests(written).items()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("workers outlived the writer that was killed")
    assert not list(tmp_path.glob("*/.*.partial"))


def test_a_whole_world_is_not_written_again(written: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in written.glob("*/*.mp4")}
    assert write_world(SMALL, written) == written
    assert {p: p.stat().st_mtime_ns for p in written.glob("*/*.mp4")} == before


def test_a_folder_of_another_world_is_refused(written: Path) -> None:
    with pytest.raises(ValueError, match="holds another synthetic world"):
        write_world(World(videos=16, seconds=2.0, seed=1), written)


def test_the_default_folder_is_named_by_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder(World()) == tmp_path / "avssl" / "synthetic" / World().key
    assert len({World().key, World(seed=1).key, World(views=2).key}) == 3


def test_keyframes_are_near_each_other_and_nothing_is_reordered(written: Path) -> None:
    with av.open(str(written / SMALL.path(0))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.has_b_frames == 0
        assert stream.average_rate == SMALL.fps
        keys = [p.pts for p in container.demux(stream) if p.is_keyframe and p.pts is not None]
    seconds = np.array(keys) * float(stream.time_base)
    assert np.diff(seconds).max() <= 12 / SMALL.fps + 1e-9


@pytest.mark.parametrize("wrong", [{"size": 33}, {"views": 3}, {"videos": 0}, {"seed": -1}, {"seconds": 0.5}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"World.*(needs|expected)"):
        World(**wrong)


def test_a_scene_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="16 scenes in 1 views"):
        Scene(SMALL, 16)
    with pytest.raises(IndexError, match="view 1"):
        Scene(SMALL, 0, view=1)


# The ground truth


@pytest.mark.parametrize("index", EIGHT)
def test_flow_takes_one_picture_to_another(index: int) -> None:
    scene = Scene(World(), index)
    for t0, t1 in ((0.6, 0.64), (1.0, 1.24), (2.5, 2.1)):
        now, later, (across, down) = scene.frame(t0), scene.frame(t1), scene.flow(t0, t1)
        rows, columns = np.indices(across.shape, dtype=np.float32)
        back = cv2.remap(later, columns + across, rows + down, cv2.INTER_LINEAR)
        inside = cv2.erode(scene.visible(t0, t1).astype(np.uint8), np.ones((3, 3))) > 0
        assert inside.mean() > 0.6
        error = np.abs(back.astype(np.float64) - now).mean(-1)[inside]
        assert error.mean() < 2.5
        still = np.abs(later.astype(np.float64) - now).mean(-1)[inside].mean()  # had nothing moved
        assert error.mean() < 0.35 * still or still < 6


def test_flow_to_the_same_moment_is_zero_and_there_and_back_cancels() -> None:
    scene = Scene(World(), 2)
    assert np.abs(scene.flow(1.0, 1.0)).max() < 1e-4
    there, back = scene.flow(1.0, 1.2), scene.flow(1.2, 1.0)
    seen = scene.visible(1.0, 1.2)
    rows, columns = np.indices(seen.shape, dtype=np.float32)
    landed = np.stack([cv2.remap(b, columns + there[0], rows + there[1], cv2.INTER_NEAREST) for b in back])
    assert np.median(np.abs(there + landed)[:, seen]) < 0.1


def test_masks_are_where_the_objects_are_drawn_and_in_front_of_the_room() -> None:
    for index in EIGHT:
        scene = Scene(World(), index)
        for t in (0.5, 2.0):
            masks, depth, surfaces = scene.masks(t), scene.depth(t), scene.surfaces(t)
            assert masks.shape == (ACTORS, 128, 128)
            assert not (masks[0] & masks[1]).any()
            assert ((depth > 2) & (depth < 11)).all()
            wall = depth[surfaces == 0]
            for mask, (x, y, radius) in zip(masks, scene.circles(t), strict=True):
                rows, columns = np.nonzero(mask)
                assert np.hypot(columns - x, rows - y).max(initial=0) < radius + 1.5
                if mask.any():
                    assert depth[mask].max() < wall.min()
                    assert np.ptp(depth[mask]) < 0.6  # flat, and nearly facing the camera
            far = scene.places(np.array([t]))[:, 0, 2]
            if masks.any(axis=(1, 2)).all() and abs(far[0] - far[1]) > 0.4:
                means = [depth[mask].mean() for mask in masks]
                assert np.argmin(means) == np.argmin(far)


def test_flow_of_the_room_follows_from_depth_and_ego_motion() -> None:
    scene, t0, t1 = Scene(World(), 3), 0.8, 1.6
    motion, still = scene.ego_motion(t0, t1), scene.surfaces(t0) < 2 + PROPS
    rows, columns = np.indices(still.shape, dtype=np.float64)
    first, second = (scene.intrinsics(t) for t in (t0, t1))
    rays = np.linalg.inv(first) @ np.stack([columns[still], rows[still], np.ones(still.sum())])
    points = rays * scene.depth(t0)[still] - motion.translation[:, None]
    projected = second @ cv2.Rodrigues(motion.rotation)[0].T @ points
    flow = projected[:2] / projected[2] - np.stack([columns[still], rows[still]])
    np.testing.assert_allclose(flow, scene.flow(t0, t1)[:, still], atol=1e-2)
    assert second[0, 0] / first[0, 0] == pytest.approx(motion.zoom)


def test_two_cameras_see_one_world() -> None:
    world = World(videos=8, views=2)
    assert world.path(3, 1) == "orbit_right/00003_view1.mp4"
    one, other = Scene(world, 3, 0), Scene(world, 3, 1)
    np.testing.assert_array_equal(one.impacts, other.impacts)
    np.testing.assert_array_equal(one.sound(), other.sound())
    times = np.linspace(0, 4, 9)
    np.testing.assert_array_equal(one.places(times), other.places(times))
    assert np.abs(one.frame(1.0).astype(float) - other.frame(1.0)).mean() > 10
    assert np.abs(one.circles(1.0) - other.circles(1.0)).max() > 3
    np.testing.assert_array_equal(one.frame(1.0), Scene(World(videos=8), 3).frame(1.0))  # view 0 is the same in both


def test_a_scene_is_a_function_of_seed_and_index() -> None:
    again = Scene(World(videos=400), 5)
    np.testing.assert_array_equal(Scene(World(), 5).frame(1.3), again.frame(1.3))
    np.testing.assert_array_equal(Scene(World(), 5).sound(), again.sound())
    assert np.abs(Scene(World(seed=1), 5).frame(1.3).astype(float) - again.frame(1.3)).mean() > 5


def test_the_picture_size_is_free() -> None:
    small, large = (Scene(World(size=size), 6) for size in (64, 192))
    assert small.frame(1.0).shape == (64, 64, 3)
    ratio = (large.circles(1.0) + 0.5) / (small.circles(1.0) + 0.5)
    np.testing.assert_allclose(ratio[:, :2], 3.0, rtol=1e-6)


# The actions


def test_impacts_happen_where_the_motion_breaks() -> None:
    for index in range(24):
        scene = Scene(World(), index)
        assert len(scene.impacts) >= 6
        assert (np.diff(scene.impacts) >= 0).all()
        assert len(scene.impacts) == len(scene.loudness) == len(scene.struck)
        inside = (scene.impacts > 0.01) & (scene.impacts < 3.99)
        for time_, who in zip(scene.impacts[inside], scene.struck[inside], strict=True):
            places = scene.places(time_ + np.array([-2e-4, -1e-4, 1e-4, 2e-4]))[who]
            before, after = (places[1] - places[0]) / 1e-4, (places[3] - places[2]) / 1e-4
            assert np.abs(after - before).max() > 0.1, (CLASSES[scene.label], time_)


def test_flights_obey_gravity() -> None:
    landings = np.array([-0.3, 0.6, 1.3])
    heights = -Hops(np.zeros(4), landings)(np.array([0.1, 0.15, 0.2]))[:, 1]
    assert (heights[0] - 2 * heights[1] + heights[2]) / 0.05**2 == pytest.approx(-GRAVITY)
    assert Hops(np.zeros(4), landings)(landings)[:, 1] == pytest.approx(0)


@pytest.mark.parametrize(("one", "other"), [("split", "merge"), ("orbit_left", "orbit_right")])
def test_some_actions_are_others_run_backwards(one: str, other: str) -> None:
    apart = {}
    for name in (one, other):
        performed = ACTIONS[name](np.random.default_rng(0), Pair.draw(np.random.default_rng(1), 1.2), np.zeros(2), 4.0)
        first, second = (p.path(np.linspace(0, 4, 200)) for p in performed)
        apart[name] = second[:, [0, 2]] - first[:, [0, 2]]
    if one == "split":
        assert (np.diff(np.linalg.norm(apart["split"], axis=-1)) > -1e-9).all()
        assert (np.diff(np.linalg.norm(apart["merge"], axis=-1)) < 1e-9).all()
    else:
        turned = {k: np.diff(np.unwrap(np.arctan2(v[:, 1], v[:, 0]))).sum() for k, v in apart.items()}
        assert turned["orbit_left"] > np.pi
        assert turned["orbit_right"] < -np.pi


@pytest.mark.parametrize("name", ["bounce", "slide", "spin", "swing"])
def test_the_other_actions_run_backwards_are_none_of_the_actions(name: str) -> None:
    """Blows tell the way of time: they speed up what slides or spins, and mostly slow down what bounces or swings."""
    gains = []
    for index in range(CLASSES.index(name), 160, len(CLASSES)):
        scene = Scene(World(), index)
        inside = (scene.impacts > 0.05) & (scene.impacts < 3.95)
        for time_, who in zip(scene.impacts[inside], scene.struck[inside], strict=True):
            places = scene.places(time_ + np.array([-2e-4, -1e-4, 1e-4, 2e-4]))[who]
            before, after = (np.linalg.norm(places[i + 1] - places[i]) for i in (0, 2))
            gains.append(after - before)
    share = np.mean(np.array(gains) > 0)
    assert share > 0.95 if name in ("slide", "spin") else share < 0.45


def test_the_action_is_told_by_motion_and_not_by_a_still_picture() -> None:
    scores = shortcuts(World(seed=5), scenes=160, many=1200)
    chance = 1 / len(CLASSES)
    for name in ("still/linear", "still/knn", "still/geometry"):
        assert scores[name].accuracy - scores[name].interval < chance + 0.02, scores
    assert scores["motion/linear"].accuracy > 0.9, scores


def test_motion_features_have_no_holes() -> None:
    assert all(np.isfinite(motion_features(Scene(World(), i))).all() for i in range(40))
