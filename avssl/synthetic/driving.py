"""How a car drives in an arena: arcs, crashes, backing up, and the drives of which an `ArenaWorld` consists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.arena import CAR, CURVE, PURPOSES, SPEED, Arena, ArenaWorld, Array
from avssl.synthetic.sound import Voice, soundtrack

PARTS = 10  # of a step, at whose ends the car is looked at for contact; within one, contact is found by halving
BACK, BACKING = 1.0, 6  # metres per second, and steps, of backing up after a crash
HOLD = 0.65  # probability that a random driver keeps the steering for another step

Driver = Callable[[Array], Array]  # poses [M, 3] to steerings [M] from -1, full right, to 1, full left


def arc(poses: Array, steering: Array, metres: Array) -> Array:
    """Return the poses ``[..., 3]`` after ``[...]`` metres (backwards if negative) at ``[...]`` constant steering."""
    turn = CURVE * steering * metres
    chord = metres * np.sinc(turn / (2 * np.pi))
    x, y, heading = np.moveaxis(poses, -1, 0)
    middle = heading + turn / 2
    return np.stack([x + chord * np.cos(middle), y + chord * np.sin(middle), heading + turn], -1)


def free(arena: Arena, poses: Array, steering: Array, metres: Array) -> Array:
    """Return how many of ``[M]`` metres a car drives at ``[M]`` steering from ``[M, 3]`` poses before it touches."""
    shares = np.arange(1, PARTS + 1) / PARTS
    ways = arc(poses[:, None], steering[:, None], metres[:, None] * shares)  # [M, PARTS, 3]
    touches = arena.clearance(ways[..., :2]) < CAR
    if not touches.any():
        return metres
    first = np.where(touches.any(1), touches.argmax(1), PARTS)
    low, high = first / PARTS, np.minimum(first + 1, PARTS) / PARTS
    for _ in range(20):
        middle = (low + high) / 2
        inside = arena.clearance(arc(poses, steering, metres * middle)[..., :2]) < CAR
        low, high = np.where(inside, low, middle), np.where(inside, middle, high)
    return metres * np.where(touches.any(1), low, 1.0)


def random_steerings(rng: np.random.Generator, count: int, steps: int) -> Array:
    """Draw ``[count, steps]`` steerings: each is that of the step before it (`HOLD`), or uniform from -1 to 1."""
    drawn = rng.uniform(-1, 1, (count, steps))
    kept = rng.uniform(size=(count, steps)) < HOLD
    kept[:, 0] = False
    last = np.maximum.accumulate(np.where(kept, 0, np.arange(steps)), axis=1)
    return np.take_along_axis(drawn, last, 1)


@dataclass
class Drive:
    """What a car did at each of K steps.

    Attributes:
        poses: ``[K, 3]`` x, y and heading when the step begins.
        steering: ``[K]`` from -1 to 1, positive to the left.
        speed: ``[K]`` metres per second that it wants to go; negative if it backs up.
        crashes: ``[K]`` seconds, from the first step on, of the crash in this step; NaN if there is none.
    """

    poses: Array
    steering: Array
    speed: Array
    crashes: Array

    def table(self, step: float) -> str:
        """Return the text of ``<id>.actions.csv``: seconds, steering, speed, and whether there was a crash."""
        lines = ["seconds,steering,speed,collided"]
        for place, (steering, speed, crash) in enumerate(zip(self.steering, self.speed, self.crashes, strict=True)):
            lines.append(f"{place * step:.4f},{steering:.4f},{speed:.2f},{int(not np.isnan(crash))}")
        return "\n".join(lines) + "\n"


class Car:
    """A car that drives forwards until it touches something, backs up for 6 steps along an arc, and drives on.

    Args:
        arena: where.
        rng: random numbers of the start and of the steering when it backs up.
        step: seconds between two decisions.
    """

    def __init__(self, arena: Arena, rng: np.random.Generator, step: float) -> None:
        self.arena, self.rng, self.step = arena, rng, step
        self.pose, self.backing, self.wheel = arena.start(rng), 0, 0.0
        self.metres = 0.0  # forwards since the start
        self.rows: list[tuple[Array, float, float, float]] = []

    def go(self, steering: float) -> bool:
        """Take one step, with its own steering if it backs up; return whether it crashed."""
        speed = SPEED
        if self.backing:
            self.backing, steering, speed = self.backing - 1, self.wheel, -BACK
        asked = np.array([speed * self.step])
        done = float(free(self.arena, self.pose[None], np.array([steering]), asked)[0])
        crashed = speed > 0 and done < asked[0]
        moment = (len(self.rows) * self.step + done / speed) if crashed else np.nan
        self.rows.append((self.pose, steering, speed, moment))
        self.pose = arc(self.pose, np.array(steering), np.array(done))
        self.metres += max(done, 0.0)
        if crashed:
            self.backing, self.wheel = BACKING, float(self.rng.choice([-1.0, 1.0]))
        return bool(crashed)

    @property
    def drive(self) -> Drive:
        """What it has done so far."""
        poses, *rest = zip(*self.rows, strict=True)
        steering, speed, crashes = (np.array(part, np.float64) for part in rest)
        return Drive(np.stack(poses), steering, speed, crashes)


class Driven:
    """A drive in an arena, as it is seen and heard in the car.

    Args:
        world: frames per second and sampling rate.
        arena: where.
        drive: what the car did, one step per frame.
        rng: random numbers of the sound.
    """

    def __init__(self, world: ArenaWorld, arena: Arena, drive: Drive, rng: np.random.Generator) -> None:
        self.world, self.arena, self.drive, self._rng = world, arena, drive, rng

    def actions(self) -> str:
        """Return the text of the file of actions."""
        return self.drive.table(1 / self.world.fps)

    def frame(self, t: float) -> NDArray[np.uint8]:
        """Render what the car sees at the beginning of the step at t seconds: ``[36, 64, 3]`` uint8 RGB."""
        return self.arena.frames(self.drive.poses[int(t * self.world.fps + 1e-6)][None])[0]

    def sound(self) -> NDArray[np.float32]:
        """Render the sound: ``[S]`` float32 in [-1, 1]; the tyres hiss, and a crash is a blow."""
        drive, rate = self.drive, self.world.rate
        crashes = drive.crashes[~np.isnan(drive.crashes)]
        speeds = np.repeat(np.abs(drive.speed), rate // self.world.fps)
        voice = Voice.draw(self._rng, 0.8)
        return soundtrack(self._rng, [voice], [(crashes, np.full(len(crashes), 0.5))], [speeds], rate)


class ArenaScene(Driven):
    """One drive by random steering, computed from (world, index) alone.

    Raises:
        IndexError: if the world has no such drive.
    """

    def __init__(self, world: ArenaWorld, index: int, view: int = 0) -> None:
        if not (0 <= index < world.videos and view == 0):
            raise IndexError(f"drive {index}, view {view}: the world has {world.videos} drives in one view")
        stage, looks, act, noise = (world.rng(index, purpose) for purpose in range(PURPOSES))
        arena = Arena(stage, looks)
        car = Car(arena, act, 1 / world.fps)
        for steering in random_steerings(act, 1, world.num_frames)[0]:
            car.go(float(steering))
        super().__init__(world, arena, car.drive, noise)
        self.index = index
