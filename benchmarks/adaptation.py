"""How far a face tracker from the studio comes on a phone's videos without their labels (FaceAdaptation).

    python benchmarks/adaptation.py

A network learns the studio's faces. Copies of it then go on, with half of each batch from the studio: without the
phone's videos; with them, without labels, by each loss; and with them and their labels. All see the same frames,
decoded once, for as many steps. Errors are mean distances of all points in eye distances, over held-out videos, with
95 % intervals over resamples of them. No person is in two videos.
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
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import clip_times
from avssl.encoders import ResNet
from avssl.evaluation.metrics import bootstrap
from avssl.labels import read_faces
from avssl.labels.faces import CODE
from avssl.media import open_video
from avssl.methods import FaceAdaptation
from avssl.methods.temporal.face_adaptation import errors
from avssl.pixels import MEAN, STD
from avssl.synthetic import TRUTH, write_world
from avssl.training.worlds import built_in

FRAMES = 3  # of a clip
Videos = tuple[Tensor, Tensor]  # [V, T, 3, H, W] uint8, [V, T, 20]


def main(
    steps: int = 200,
    further: int = 100,
    batch: int = 12,
    size: int = 64,
    step: float = 0.2,
    held_out: int = 40,
    consistency: float = 2.0,
    prior: float = 0.02,
    likeness: float = 0.5,
    seed: int = 0,
    videos: int = 200,
) -> None:
    """Train the networks and print their errors.

    Args:
        steps: of the training in the studio.
        further: steps of each copy.
        batch: clips in a batch.
        size: height and width of the frames.
        step: seconds between frames.
        held_out: videos of each world to measure on.
        consistency: see `FaceAdaptation`.
        prior: see `FaceAdaptation`.
        likeness: see `FaceAdaptation`.
        seed: of everything that is drawn.
        videos: of each world.
    """
    torch.manual_seed(seed)
    studio, phone = (read(f"{name}:{videos}", size, step) for name in ("synthetic_face", "synthetic_phone"))
    trained = [tuple(part[:-held_out] for part in videos) for videos in (studio, phone)]
    first = FaceAdaptation(ResNet(depth=18, width=16), consistency=consistency, prior=prior, likeness=likeness)
    train(first, steps, 1e-3, [(trained[0], True, batch)])
    half = batch // 2
    first.after_step(1.0)
    kinds = {
        "studio only": (0.0, 0.0, False),
        "textures of consecutive frames": (consistency, 0.0, True),
        "and likeness to the studio's texture": (consistency, likeness, True),
    }
    made = {"at the beginning": first}
    for name, (weight, like, both) in kinds.items():
        method = copy.deepcopy(first)
        method.consistency, method.likeness = weight, like
        parts = [(trained[0], True, half), (trained[1], False, half)] if both else [(trained[0], True, batch)]
        made[name] = train(method, further, 5e-4, parts)
    again = copy.deepcopy(made["studio only"])
    reestimate(again, [clips_of(rows(trained[1], batch), False) for _ in range(20)])
    made["studio only, statistics of the phone"] = again
    parts = [(trained[0], True, half), (trained[1], True, half)]
    made["labels in both"] = train(copy.deepcopy(first), further, 5e-4, parts)
    show(made, [tuple(part[-held_out:] for part in videos) for videos in (studio, phone)])


def read(name: str, size: int, step: float) -> Videos:
    """Read frames ``step`` seconds apart and their codes and poses from a built-in world."""
    world = built_in(name)
    assert world is not None
    root = write_world(world)
    count = int((world.seconds - 0.1) / step)
    times = clip_times(torch.tensor([0.05], dtype=torch.float64), count, step)[0]
    shown, known = [], []
    for index in range(world.videos):
        path = root / world.path(index)
        with open_video(path) as reader:
            frames = reader.frames(times).float()
        shown.append(torch.nn.functional.interpolate(frames, size=(size, size), mode="area").round().byte())
        table = read_faces(Path(path).with_suffix(TRUTH))
        known.append(torch.tensor(table[np.floor(times.numpy() * world.fps + 1e-3).astype(int)], dtype=torch.float32))
    return torch.stack(shown), torch.stack(known)


def rows(videos: Videos, count: int) -> Videos:
    """Draw clips of consecutive frames."""
    chosen, last = torch.randint(len(videos[0]), (count,)), videos[0].shape[1] - FRAMES
    start = int(torch.randint(last + 1, ()))
    frames, known = (part[chosen, start : start + FRAMES] for part in videos)
    return frames, known


def clips_of(videos: Videos, labelled: bool) -> Clips:
    """Make normalised clips, with or without labels."""
    frames, known = videos[0][:, None], videos[1][:, None]
    target = known if labelled else torch.full_like(known, torch.nan)
    times = torch.zeros(frames.shape[:3], dtype=torch.float64)
    return Clips(frames, times, target=target).normalised(torch.tensor(MEAN), torch.tensor(STD))


def train(method: FaceAdaptation, steps: int, rate: float, parts: list[tuple[Videos, bool, int]]) -> FaceAdaptation:
    """Train on batches of some clips of each part, with or without labels; the rate falls to zero."""
    optimizer = torch.optim.AdamW(method.parameters(), rate, weight_decay=0.05)
    method.train()
    for number in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - number / steps)
        drawn = [clips_of(rows(videos, count), labelled) for videos, labelled, count in parts]
        video, target = (torch.cat([getattr(clips, name) for clips in drawn]) for name in ("video", "target"))
        joined = Clips(video, torch.zeros(video.shape[:3], dtype=torch.float64), target=target)
        optimizer.zero_grad()
        method(joined)["loss"].backward()
        optimizer.step()
    return method.eval()


@torch.no_grad()
def reestimate(method: FaceAdaptation, clips: list[Clips]) -> None:
    """Replace the statistics of batch normalisation by those of clips (AdaBN: Li et al. 2016)."""
    layers = [layer for layer in method.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over the batches
        layer.train()
    for part in clips:
        method.numbers(part.video.flatten(0, 1))
    method.eval()


@torch.no_grad()
def away(method: FaceAdaptation, videos: Videos, mean: bool = False) -> NDArray[np.float64]:
    """Return each video's mean error, of the network or of the mean face in the mean pose."""
    found = []
    for start in range(0, videos[0].shape[1] - FRAMES + 1, FRAMES):
        frames, known = (part[:, start : start + FRAMES] for part in videos)
        true = method.decoder(known.flatten(0, 1)).unflatten(0, known.shape[:2])
        guess = torch.zeros_like(known) if mean else method.numbers(clips_of((frames, known), True).video[:, 0])
        found.append(errors(method.points(guess), true, 2 * known[..., CODE + 3]).mean(1))
    return torch.stack(found).mean(0).double().numpy()


def show(made: dict[str, FaceAdaptation], worlds: list[Videos]) -> None:
    """Print a table of errors, and the share of the gap between the studio's network and labels that is closed."""
    table = Table("", "studio", "phone", "of the gap closed")
    found = {name: [away(method, videos) for videos in worlds] for name, method in made.items()}
    found["the mean face"] = [away(made["at the beginning"], videos, True) for videos in worlds]
    begin, end = found["studio only"][1], found["labels in both"][1]
    draws = np.random.default_rng(0).integers(len(begin), size=(2000, len(begin)))
    for name, values in found.items():
        cells = []
        for part in values:
            low, high = bootstrap(part[None], range(len(part)), 0)
            cells.append(f"{part.mean():.3f} ({low:.3f} to {high:.3f})")
        closed = (begin - values[1])[draws].mean(1) / (begin - end)[draws].mean(1)
        low, high = np.quantile(closed, [0.025, 0.975])
        share = (begin - values[1]).mean() / (begin - end).mean()
        table.add_row(name, *cells, f"{share:.2f} ({low:.2f} to {high:.2f})")
    Console(width=140).print(table)


if __name__ == "__main__":
    auto_cli(main)
