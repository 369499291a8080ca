"""Drive by a run of CollisionAhead in arenas that it has not seen, beside simpler drivers.

    python benchmarks/drive.py runs/collision_ahead drive
    python benchmarks/drive.py runs/collision_ahead drive --rounds=1

Printed are the figures of `benchmarks/collisions.py`, and the metres from a free place to the first crash, at most 200,
with a 95 % interval over resamples of arenas. A driver that plans draws sequences of steerings as the recordings'
driver does, and takes the first action of the one with the lowest mean probability of a collision (or that stays
farthest from everything); then it plans anew. Drivers share arenas, starts and draws.

``drive.mp4`` shows the network's shortest, median and longest drive, from car and from above. With ``--rounds``, the
network then drives on its own in other arenas (a tenth of its actions random, backing up after crashes), the recordings
are written as the world's are, it is trained on both for as many steps again, and its figure is printed anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from collisions import distances_by_hand, margins
from collisions import main as foreseen
from jsonargparse import auto_cli
from numpy.typing import NDArray

from avssl.evaluation.metrics import bootstrap
from avssl.methods import CollisionAhead
from avssl.pixels import normalise
from avssl.runtime.files import growing
from avssl.synthetic import Arena, ArenaWorld
from avssl.synthetic.arena import CAR, Array, column_angles, on_plan
from avssl.synthetic.driving import Car, Driven, arc, random_steerings
from avssl.synthetic.writer import write_video
from avssl.training import pretrain
from avssl.training.config import parse
from avssl.training.module import statistics
from avssl.training.sheet import load_method

ARENAS, OWN = 1001, 2002  # seeds: of the arenas that are driven in to measure, and to learn


class Seeing(Car):
    """A car that remembers what it has seen."""

    def __init__(self, arena: Arena, rng: np.random.Generator, step: float) -> None:
        super().__init__(arena, rng, step)
        self.seen: list[NDArray[np.uint8]] = []

    def recent(self, frames: int) -> NDArray[np.uint8]:
        """Return the latest frames ``[T, 36, 64, 3]``; before its start the first one again."""
        poses = [*(row[0] for row in self.rows), self.pose]
        self.seen += list(self.arena.frames(np.stack(poses[len(self.seen) :]))) if len(self.seen) < len(poses) else []
        return np.stack([self.seen[0]] * (frames - len(self.seen)) + self.seen[-frames:])


Score = Callable[[Sequence[Seeing], Array], Array]  # of cars [C] and steerings [C, K, H]: [C, K], the lower the better


def main(
    run: Path, out: Path, arenas: int = 20, most: float = 200.0, sequences: int = 256, rounds: int = 0, own: int = 120
) -> None:
    """Print how far each driver comes, and write the video.

    Args:
        run: folder of a run of CollisionAhead on arenas.
        out: folder for the video and the network's own recordings.
        arenas: number of arenas that are driven in.
        most: metres after which a drive ends.
        sequences: sequences of steerings among which a driver chooses (paper: 4096).
        rounds: how often the network learns from its own driving.
        own: recordings that it makes each time.
    """
    foreseen(run)
    out.mkdir(parents=True, exist_ok=True)
    made, config = parse([str(run / "config.yaml")])
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    method, untrained = built.method, copy.deepcopy(built.method).eval()
    load_method(method, run)
    method.eval()
    world = ArenaWorld()
    horizon = method.sampler.horizon
    drivers: dict[str, Score] = {
        "random": lambda cars, ways: -np.arange(ways.shape[1]) + 0 * ways[..., 0],
        "straight": lambda cars, ways: np.abs(ways).mean(2),
        "untrained network": planned(untrained),
        "trained network": planned(method),
        "the way by hand": by_hand(world),
        "the way among true distances": by_distances(world),
    }
    print(f"{run}: metres to the first crash in {arenas} new arenas, and the share that comes {most:.0f} m far")
    for name, score in drivers.items():
        cars = driven(score, ARENAS, arenas, world, most, sequences, horizon)
        tell(name, cars, most)
        if name == "trained network":
            ranked = sorted(cars, key=lambda car: car.metres)
            film([ranked[0], ranked[len(ranked) // 2], ranked[-1]], world, out / "drive.mp4")
    for number in range(1, rounds + 1):
        folder = out / f"own{number}"
        recorded(planned(method), world, folder, own, sequences, horizon, OWN + number)
        method = continued(run, method, folder, number)
        tell(f"after round {number}", driven(planned(method), ARENAS, arenas, world, most, sequences, horizon), most)


def tell(name: str, cars: Sequence[Car], most: float) -> None:
    """Print the mean of metres with its interval, the median, and the share that came to the end."""
    metres = np.array([car.metres for car in cars])
    low, high = bootstrap(metres[None], range(len(metres)), 0)
    spread = f"{metres.mean():6.1f} ({low:.1f} to {high:.1f}), median {np.median(metres):.1f}"
    print(f"  {name:30} {spread}; {(metres >= most).mean():.2f}", flush=True)


def planned(method: CollisionAhead) -> Score:
    """Return the mean probability of a collision along each sequence, as a network says."""
    mean, std = map(torch.tensor, statistics(method.encoder))

    def score(cars: Sequence[Seeing], ways: Array) -> Array:
        shown = torch.from_numpy(np.stack([car.recent(method.sampler.num_frames) for car in cars]))
        with torch.no_grad():
            clips = normalise(shown.permute(0, 1, 4, 2, 3), mean, std)
            states = method.states(clips).repeat_interleave(ways.shape[1], 0)
            logits = method.predict(states, torch.from_numpy(ways).float().flatten(0, 1))
        return logits.sigmoid().mean(1).view(len(cars), -1).numpy()

    return score


def by_hand(world: ArenaWorld) -> Score:
    """Return minus the distance that each sequence keeps to what a rule by hand reads from the picture."""

    def score(cars: Sequence[Seeing], ways: Array) -> Array:
        seen = distances_by_hand(np.concatenate([car.recent(1) for car in cars]))
        return kept(seen, ways, world)

    return score


def by_distances(world: ArenaWorld) -> Score:
    """Return minus the distance that each sequence keeps to what is truly in view."""

    def score(cars: Sequence[Seeing], ways: Array) -> Array:
        poses = [car.pose for car in cars]
        seen = [
            car.arena.distances(pose[:2], pose[2] + column_angles())[0] for car, pose in zip(cars, poses, strict=True)
        ]
        return kept(np.stack(seen), ways, world)

    return score


def kept(seen: Array, ways: Array, world: ArenaWorld) -> Array:
    """Return minus the mean over steps of the margins along ``[C, K, H]`` sequences, ``[C, K]``."""
    far = margins(np.repeat(seen, ways.shape[1], 0), ways.reshape(-1, ways.shape[2]), 1 / world.fps)
    return -far.clip(max=2.0).mean(1).reshape(ways.shape[:2])


def driven(
    score: Score, seed: int, arenas: int, world: ArenaWorld, most: float, sequences: int, horizon: int
) -> list[Seeing]:
    """Drive in new arenas, all at once, until each has crashed or come ``most`` metres far."""
    cars = started(seed, arenas, world)
    rng, going = np.random.default_rng(seed), list(cars)
    while going:
        ways = random_steerings(rng, arenas * sequences, horizon).reshape(arenas, sequences, horizon)[: len(going)]
        best = score(going, ways).argmin(1)
        crashed = [car.go(float(way[place, 0])) for car, way, place in zip(going, ways, best, strict=True)]
        going = [car for car, over in zip(going, crashed, strict=True) if not over and car.metres < most]
    return cars


def started(seed: int, arenas: int, world: ArenaWorld) -> list[Seeing]:
    """Put a car into each of some arenas."""
    rngs = [np.random.default_rng([seed, index]) for index in range(arenas)]
    return [Seeing(Arena(rng, rng), rng, 1 / world.fps) for rng in rngs]


def recorded(score: Score, world: ArenaWorld, folder: Path, own: int, sequences: int, horizon: int, seed: int) -> None:
    """Drive for as long as the world's videos are, backing up after crashes; write videos and actions."""
    cars, rng = started(seed, own, world), np.random.default_rng(seed)
    for _ in range(world.num_frames):
        for first in range(0, own, 24):
            part = cars[first : first + 24]
            ways = random_steerings(rng, len(part) * sequences, horizon).reshape(len(part), sequences, horizon)
            best = np.where(rng.uniform(size=len(part)) < 0.1, 0, score(part, ways).argmin(1))
            for car, way, place in zip(part, ways, best, strict=True):
                car.go(float(way[place, 0]))
    folder.mkdir(parents=True, exist_ok=True)
    for index, car in enumerate(cars):
        write_video(
            Driven(world, car.arena, car.drive, np.random.default_rng([seed, index])), folder / f"{index:05d}.mp4"
        )
    crashes = sum(int((~np.isnan(car.drive.crashes)).sum()) for car in cars)
    print(f"{folder}: {sum(car.metres for car in cars):.0f} m with {crashes} crashes")


def continued(run: Path, method: CollisionAhead, folder: Path, number: int) -> CollisionAhead:
    """Train a method on, from its own weights, on the world and on recordings of its own driving."""
    name = f"{run.name}_own{number}"
    made, config = parse([str(run / "config.yaml"), f"--data.root=[synthetic_arena,{folder}]", f"--name={name}"])
    config.logger = None
    built = made.instantiate(config)
    built.method.load_state_dict(method.state_dict())
    settings = dict(config.trainer)
    pretrain(
        name,
        built.method,
        built.data,
        built.optimizer,
        settings,
        seed=config.seed + number,
        runs=str(folder.parent),
        measure_every=config.measure_every,
    )
    return built.method.eval()


def film(cars: Sequence[Car], world: ArenaWorld, path: Path, height: int = 288) -> None:
    """Write a video of drives, one after the other: what the car sees, and its way from above."""
    width = height * 16 // 9
    with growing(path) as partial, av.open(str(partial), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=2 * world.fps, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width + height, height, "yuv420p"
        shown = 0
        for car in cars:
            drive, plan = car.drive, car.arena.plan(height)
            for view, pose in zip(car.arena.frames(drive.poses), drive.poses, strict=True):
                spot = tuple(int(value) for value in on_plan(pose[:2], height))
                ahead = arc(pose, np.zeros(()), np.array(0.8))
                cv2.circle(plan, spot, 1, (255, 210, 60), -1)
                above = plan.copy()
                cv2.circle(above, spot, max(2, round(CAR * height / 20)), (255, 60, 40), -1, cv2.LINE_AA)
                cv2.line(above, spot, tuple(int(value) for value in on_plan(ahead[:2], height)), (255, 60, 40), 2)
                seen = cv2.resize(view, (width, height), interpolation=cv2.INTER_NEAREST)
                picture = av.VideoFrame.from_ndarray(np.concatenate([seen, above], 1), format="rgb24")
                picture.pts, picture.time_base = shown, Fraction(1, 2 * world.fps)
                container.mux(stream.encode(picture))
                shown += 1
        container.mux(stream.encode(None))


if __name__ == "__main__":
    auto_cli(main)
