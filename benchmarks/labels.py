"""Labellers against ground truth: flow, moving objects, edges, depth and camera motion.

    python benchmarks/labels.py --root=../shared/data

The synthetic world is computed, not read; the folder holds flying_chairs, seven_scenes and kitti_odometry, any of which
may be absent. Under three minutes on one core.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table
from torch import Tensor

from avssl.labels import (
    EgoMotionFromVideo,
    MotionEdges,
    MotionSegmentation,
    OpticalFlow,
    RelativeDepth,
    boundary_f,
    dis_flow,
    fit_camera,
    image_edges,
    ordinal_agreement,
    read_poses,
    relative_motion,
)
from avssl.labels.edges import jumps
from avssl.labels.flow import grey, one_thread
from avssl.media import VideoInfo, open_video
from avssl.synthetic import Scene, World

INFO = VideoInfo(Path("computed.mp4"), 4.0, 25.0, (96, 96))
Rows = list[tuple[str, str, str]]


def main(root: Path | None = None, scenes: int = 32, size: int = 96) -> None:
    """Print every labeller's score beside a baseline that needs no labeller.

    Args:
        root: folder of the recordings.
        scenes: number of scenes of the synthetic world.
        size: height and width of its frames in pixels.
    """
    world = [Scene(World(videos=scenes, size=size), index) for index in range(scenes)]
    rows = flow_rows(world) + object_rows(world) + edge_rows(world) + depth_rows(world) + motion_rows(world)
    rows += cost_rows(world)
    if root is not None and (root / "flying_chairs").is_dir():
        rows += chairs_rows(root / "flying_chairs")
    if root is not None and (root / "seven_scenes").is_dir():
        rows += seven_rows(root / "seven_scenes")
    if root is not None and (root / "kitti_odometry").is_dir():
        rows += kitti_rows(root / "kitti_odometry")
    table = Table("", "labeller", "beside it", title=f"{scenes} scenes of {size} x {size}")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)


def shown(scene: Scene, times: list[float]) -> tuple[Tensor, Tensor]:
    """Return frames ``[T, 3, H, W]`` and their times ``[T]``."""
    frames = np.stack([scene.frame(t) for t in times]).transpose(0, 3, 1, 2)
    return torch.from_numpy(frames), torch.tensor(times)


def farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the flow ``[2, H, W]`` of OpenCV's polynomial expansion."""
    with one_thread():
        return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 4, 15, 5, 7, 1.5, 0).transpose(2, 0, 1)


def endpoint(first: np.ndarray, second: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> list[float]:
    """Return the mean end-point errors in pixels of DIS, no flow and Farneback."""
    flows = (dis_flow(first, second), 0 * truth, farneback(first, second))
    return [float(np.hypot(*(flow - truth))[seen].mean()) for flow in flows]


def flow_row(name: str, errors: list[list[float]]) -> tuple[str, str, str]:
    """Return a row of mean end-point errors."""
    ours, none, other = np.mean(errors, axis=0)
    return f"flow: end-point error, {name} (px)", f"{ours:.2f}", f"none {none:.2f}, Farneback {other:.2f}"


def flow_rows(world: list[Scene]) -> Rows:
    """Measure flow over 0.08 and 0.2 s, on pixels that stay visible."""
    rows = []
    for gap in (0.08, 0.2):
        errors = []
        for scene in world:
            pair = grey(shown(scene, [1.0, 1.0 + gap])[0])
            errors.append(endpoint(*pair, scene.flow(1.0, 1.0 + gap), scene.visible(1.0, 1.0 + gap)))
        rows.append(flow_row(f"synthetic, {gap} s", errors))
    return rows


def chairs_rows(folder: Path) -> Rows:
    """Measure flow on each pair of flying_chairs."""
    rows = []
    for truth in sorted(folder.glob("*-gt.flo")):
        raw = np.fromfile(truth, np.float32)
        width, height = raw[1:3].view(np.int32)
        flow = raw[3:].reshape(height, width, 2).transpose(2, 0, 1)
        name = truth.name.removesuffix("-gt.flo")
        pair = [cv2.imread(str(folder / f"{name}-img{k}.ppm"), cv2.IMREAD_GRAYSCALE) for k in (0, 1)]
        rows.append(flow_row(f"flying_chairs {name}", [endpoint(*pair, flow, np.ones((height, width), bool))]))
    return rows


def object_rows(world: list[Scene]) -> Rows:
    """Measure the intersection over union with the acting things: all, and those that move at the time."""
    overlap, everything, moving = [], [], []
    for scene in world:
        times = [1.0 + 0.08 * k for k in range(5)]
        frames, seconds = shown(scene, times)
        trimap = MotionSegmentation()(frames[None], seconds[None], INFO)[0].numpy()
        truth = scene.masks(times[2]).any(0)
        known = trimap >= 0
        overlap.append((((trimap == 1) & truth).sum()) / max(1, (((trimap == 1) | truth) & known).sum()))
        everything.append((truth & known).sum() / known.sum())
        steps = np.abs(np.diff(scene.places(np.array([times[0], times[-1]])), axis=1)).sum(2).min()
        if steps > 0.1:
            moving.append(overlap[-1])
    return [
        ("moving objects: IoU", f"{np.mean(overlap):.3f}", f"everything {np.mean(everything):.3f}"),
        (f"  where both move ({len(moving)} scenes)", f"{np.mean(moving):.3f}", ""),
    ]


def edge_rows(world: list[Scene]) -> Rows:
    """Measure boundary F-scores on visible borders of acting things, with a pixel of tolerance and one threshold."""
    scores: dict[str, list[list[float]]] = {"motion": [], "image": [], "everywhere": []}
    for scene in world:
        times = [1.0, 1.08, 1.16]
        frames, seconds = shown(scene, times)
        border = jumps(torch.from_numpy(scene.masks(times[1])).float()[None])[0] > 0
        found = {
            "motion": MotionEdges()(frames[None], seconds[None], INFO)[0],
            "image": image_edges(torch.from_numpy(grey(frames[1:2])).float())[0],
            "everywhere": torch.ones_like(border, dtype=torch.float),
        }
        for name, edges in found.items():
            scores[name].append([boundary_f(edges > cut, border).item() for cut in (0.2, 0.3, 0.4, 0.6, 0.8, 0.95)])
    best = {name: np.mean(values, axis=0).max() for name, values in scores.items()}
    beside = f"image gradients {best['image']:.3f}, everywhere {best['everywhere']:.3f}"
    return [("edges: boundary F, best threshold", f"{best['motion']:.3f}", beside)]


def depth_rows(world: list[Scene]) -> Rows:
    """Measure the ordinal agreement of random pairs with the true depth."""
    every, standing, none = [], [], 0
    for scene in world:
        frames, seconds = shown(scene, [0.6, 1.0, 1.4])
        depth = RelativeDepth()(frames[None], seconds[None], INFO)[0]
        if not torch.isfinite(depth).any():
            none += 1
            continue
        truth, stands = torch.from_numpy(scene.depth(1.0)), torch.from_numpy(scene.surfaces(1.0) < 5)
        every.append(ordinal_agreement(depth, truth, torch.Generator().manual_seed(0)))
        kept = torch.where(stands, depth, torch.nan)
        standing.append(ordinal_agreement(kept, truth, torch.Generator().manual_seed(0)))
    beside = f"chance 0.5; no label in {none} of {len(world)}"
    return [
        ("depth: ordinal agreement, synthetic", f"{np.mean(every):.3f}", beside),
        ("  of what stands", f"{np.mean(standing):.3f}", "chance 0.5"),
    ]


def cost_rows(world: list[Scene]) -> Rows:
    """Measure the median CPU time of each labeller on its clip, in milliseconds and relative to one flow."""
    labellers = {
        "flow": (OpticalFlow(), [1.0, 1.08]),
        "moving objects": (MotionSegmentation(), [1.0, 1.08, 1.16, 1.24, 1.32]),
        "edges": (MotionEdges(), [1.0, 1.08, 1.16]),
        "depth": (RelativeDepth(), [0.6, 1.0, 1.4]),
        "ego-motion": (EgoMotionFromVideo(), [1.0, 1.4]),
    }
    spent: dict[str, list[float]] = {name: [] for name in labellers}
    for scene in world:
        for name, (labeller, times) in labellers.items():
            frames, seconds = shown(scene, times)
            began = time.process_time()
            labeller(frames[None], seconds[None], INFO)
            spent[name].append(1000 * (time.process_time() - began))
    median = {name: float(np.median(values)) for name, values in spent.items()}
    return [
        (f"cost: {name} (ms of CPU time)", f"{value:.1f}", f"{value / median['flow']:.1f} flows")
        for name, value in median.items()
    ]


def sign_row(name: str, estimated: np.ndarray, truth: np.ndarray) -> tuple[str, str, str]:
    """Return the sign accuracy of ``[V, 6]`` estimated motions, per axis."""
    right = (np.sign(estimated) == np.sign(truth)).mean(0)
    major = np.maximum((truth > 0).mean(0), (truth < 0).mean(0))
    return (
        f"ego-motion: signs, {name} (turn up, right, clockwise; move right, down, ahead)",
        " ".join(f"{value:.2f}" for value in right),
        "larger class " + " ".join(f"{value:.2f}" for value in major),
    )


def estimated(first: np.ndarray, last: np.ndarray, focal: float) -> np.ndarray:
    """Return ``[6]`` turn and direction from the flow between two grey frames."""
    fit = fit_camera(dis_flow(first, last), focal)
    return np.concatenate([fit.turn[:3], fit.direction])


def motion_rows(world: list[Scene]) -> Rows:
    """Measure the signs of turn and translation over 0.4 s."""
    found, truth = [], []
    for scene in world:
        found.append(estimated(*grey(shown(scene, [1.0, 1.4])[0]), 1.15))
        ego = scene.ego_motion(1.0, 1.4)
        truth.append([*ego.rotation, *ego.translation])
    return [sign_row("synthetic", np.array(found), np.array(truth))]


def seven_rows(folder: Path) -> Rows:
    """Measure signs over ten frames, and depth against the sensor's, along the recording."""
    poses = read_poses(folder / "poses_cam2world.txt")[1]
    focal = float(np.loadtxt(folder / "camera-intrinsics.txt")[0, 0]) / 640
    starts = range(0, 980, 40)
    wanted = [[start, start + 10, start + 20] for start in starts]
    times = torch.tensor(wanted).flatten().double() / 30 + 1e-3
    with open_video(folder / "rgb_320x240.mp4") as reader:
        clips = reader.frames(times, (120, 160)).unflatten(0, (-1, 3))  # [V, 3, 3, H, W]
    found = np.array([estimated(*grey(clip[:2]), focal) for clip in clips])
    truth = np.array([relative_motion(poses[start], poses[start + 10]) for start in starts])
    agreements = []
    for start, clip in zip(starts, clips, strict=True):
        sensor = cv2.imread(str(folder / f"depth_every10/frame-{start + 10:06d}.depth.png"), cv2.IMREAD_UNCHANGED)
        sensor = cv2.resize(sensor, (160, 120), interpolation=cv2.INTER_NEAREST).astype(np.float32)
        sensor[(sensor == 0) | (sensor == 65535)] = np.nan
        depth = RelativeDepth(focal=focal)(clip[None], torch.arange(3)[None] / 3, INFO)[0]
        agreements.append(ordinal_agreement(depth, torch.from_numpy(sensor), torch.Generator().manual_seed(0)))
    known = np.isfinite(agreements)
    beside = f"chance 0.5; no label in {int((~known).sum())} of {len(agreements)}"
    return [
        sign_row("seven_scenes", found, truth),
        ("depth: ordinal agreement, seven_scenes", f"{np.mean(np.array(agreements)[known]):.3f}", beside),
    ]


def kitti_rows(folder: Path) -> Rows:
    """Measure signs over one frame. There is no depth; on a road, lower pixels are nearer almost everywhere."""
    poses = read_poses(folder / "poses.txt")[1]
    paths = sorted((folder / "image_l").glob("*.png"))[: len(poses)]
    size = (306, 92)
    pictures = [cv2.resize(cv2.imread(str(path), 0), size, interpolation=cv2.INTER_AREA) for path in paths]
    found, truth, agreements = [], [], []
    rows = torch.arange(size[1], 0, -1.0)[:, None].expand(size[1], size[0])
    for first in range(0, len(pictures) - 2, 3):
        found.append(estimated(pictures[first], pictures[first + 1], 707.0912 / 1226))
        truth.append(relative_motion(poses[first], poses[first + 1]))
        clip = torch.from_numpy(np.stack(pictures[first : first + 3]))[:, None].expand(-1, 3, -1, -1)
        depth = RelativeDepth(focal=707.0912 / 1226)(clip[None], torch.arange(3)[None] * 0.1, INFO)[0]
        below = torch.where(rows < 46, rows, torch.nan)  # the lower half
        agreements.append(ordinal_agreement(depth, below, torch.Generator().manual_seed(0)))
    found_, truth_ = np.array(found), np.array(truth)
    nod = "depth: agreement with 'lower is nearer' in the lower half, kitti_odometry"
    return [sign_row("kitti_odometry", found_, truth_), (nod, f"{np.nanmean(agreements):.3f}", "chance 0.5")]


if __name__ == "__main__":
    auto_cli(main)
