"""The actions: the motion and impacts of a pair of objects, as closed-form functions of time.

World axes in metres: X to the right, Y *down*, Z away from the camera; the floor is Y = 0. Objects are flat, hang on
invisible wires and act in pairs. A still frame should not reveal the action: position and direction of the pair, its
distance, heights, looks and angles have, at a random moment, (nearly) the same distribution in every action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from avssl.synthetic.camera import Array

GRAVITY = 9.8  # metres per second squared


class Path(Protocol):
    """The path of one object."""

    def __call__(self, t: Array) -> Array:
        """Map ``[...]`` seconds to ``[..., 4]``: X, Y, Z of the object's lowest point, and its rotation in radians."""


class Impacts(NamedTuple):
    """Impacts on one object: ``[E]`` times in seconds and ``[E]`` speeds in metres per second."""

    times: Array
    speeds: Array


def floor_direction(angle: Array | float) -> Array:
    """Map ``[...]`` radians to directions ``[..., 3]`` on the floor, shortened in depth, where there is less room."""
    return np.stack([np.cos(angle), np.zeros_like(angle), 0.6 * np.sin(angle)], axis=-1)


class Pair(NamedTuple):
    """The position of a pair of objects."""

    base: Array  # [3] on the floor; the point about which a moving pair's centre moves
    centre: Array  # [3] on the floor; the centre of a resting pair, about as far from the base as a moving one
    heights: Array  # [2] the objects' heights, distributed as those of bouncing objects at a random moment
    heading: float  # direction on the floor from the first object to the second, in radians
    near: float  # smallest distance between the two, in metres
    far: float  # largest distance between the two, in metres

    @classmethod
    def draw(cls, rng: np.random.Generator, near: float) -> Pair:
        """Draw a pair; ``near`` is the smallest distance between the objects."""
        base = np.array([rng.uniform(-0.3, 0.3), 0, rng.uniform(4.4, 5.2)])
        centre = base + np.sqrt(rng.uniform(0, 0.7)) * floor_direction(rng.uniform(0, 2 * np.pi))
        heights = 0.5 * GRAVITY * rng.uniform(0.3, 1.15, 2) ** 2 * (u := rng.uniform(0, 1, 2)) * (1 - u)
        return cls(base, centre, heights, rng.uniform(0, 2 * np.pi), near, rng.uniform(3.0, 3.6))

    def ends(self, distance: float, lift: float = 1.0, moving: bool = False) -> tuple[Array, Array]:
        """Return the positions ``[3]`` of both objects, ``distance`` apart, about the centre, or the base if moving."""
        half, middle = 0.5 * distance * floor_direction(self.heading), self.base if moving else self.centre
        first, second = np.array([[0, -h, 0] for h in self.heights * lift])
        return middle - half + first, middle + half + second


@dataclass(frozen=True)
class Steps:
    """Straight steps and rotations from stop to stop; each step starts or ends with an impact."""

    stops: Array  # [E, 4] positions and rotations at the knots
    knots: Array  # [E] seconds, from before the start to after the end of the video
    kicked: bool  # True if a kick starts each step and friction ends it; False for its time reversal

    def __call__(self, t: Array) -> Array:
        """See `Path`."""
        i = np.clip(np.searchsorted(self.knots, t, side="right") - 1, 0, len(self.knots) - 2)
        u = np.clip((t - self.knots[i]) / (self.knots[i + 1] - self.knots[i]), 0, 1)
        done = 1 - (1 - u) ** 2 if self.kicked else u**2
        return self.stops[i] + done[..., None] * (self.stops[i + 1] - self.stops[i])

    def impacts(self, arm: float) -> Impacts:
        """Return the impacts; ``arm`` is the distance from the axis at which a rotating object is struck."""
        steps = np.diff(self.stops, axis=0)
        lengths = np.linalg.norm(steps[:, :3], axis=-1) + arm * np.abs(steps[:, 3])
        return Impacts(self.knots[:-1] if self.kicked else self.knots[1:], 2 * lengths / np.diff(self.knots))


@dataclass(frozen=True)
class Round:
    """Motion at constant speed around a polygon, with an impact at each corner."""

    corners: Array  # [C + 1, 4] positions and rotations, the last equal to the first
    arrivals: Array  # [C + 1] seconds within a lap, from 0 to the lap time
    ahead: float  # seconds by which this object is ahead

    def __call__(self, t: Array) -> Array:
        """See `Path`."""
        lap = np.mod(t + self.ahead, self.arrivals[-1])
        return np.stack([np.interp(lap, self.arrivals, c) for c in self.corners.T], axis=-1)


@dataclass(frozen=True)
class Hops:
    """Flight under gravity between landings."""

    place: Array  # [4] position on the floor and rotation
    landings: Array  # [E] seconds, from before the start to after the end of the video

    def __call__(self, t: Array) -> Array:
        """See `Path`."""
        i = np.clip(np.searchsorted(self.landings, t, side="right") - 1, 0, len(self.landings) - 2)
        since, left = t - self.landings[i], self.landings[i + 1] - t
        return self.place + np.stack([0 * t, -0.5 * GRAVITY * np.maximum(since * left, 0), 0 * t, 0 * t], axis=-1)


@dataclass(frozen=True)
class Pendulum:
    """Arcs between stops on either side; the loss at each stop makes the next arc narrower."""

    place: Array  # [4] position of the lowest point and rotation
    sideways: Array  # [3] unit vector on the floor along which it swings
    length: float  # distance in metres from the (invisible) pivot
    stops: Array  # [E] seconds at which it hits a stop
    angles: Array  # [E] radians at the stops, of alternating sign

    def __call__(self, t: Array) -> Array:
        """See `Path`."""
        i = np.clip(np.searchsorted(self.stops, t, side="right") - 1, 0, len(self.stops) - 2)
        u = (t - self.stops[i]) / (self.stops[i + 1] - self.stops[i])
        swung = 0.5 * (1 - np.cos(np.pi * (0.15 + 0.7 * u)) / np.cos(0.15 * np.pi))  # the middle 70 % of a half-swing
        angle = self.angles[i] + swung * (self.angles[i + 1] - self.angles[i])
        moved = self.length * np.sin(angle)[..., None] * self.sideways
        moved[..., 1] -= self.length * (1 - np.cos(angle))
        return self.place + np.concatenate([moved, np.zeros_like(angle)[..., None]], axis=-1)

    def impacts(self) -> Impacts:
        """Return the impacts against the stops."""
        slope = 0.35 * np.pi * np.sin(0.15 * np.pi) / np.cos(0.15 * np.pi)
        speeds = self.length * slope * np.abs(np.diff(self.angles)) / np.diff(self.stops)
        return Impacts(self.stops[1:], speeds)


class Performance(NamedTuple):
    """The path and impacts of one object, including impacts before and after the video."""

    path: Path
    impacts: Impacts


def _knots(rng: np.random.Generator, seconds: float) -> Array:
    """Draw irregular times 0.5 to 0.9 s apart, from before the start to after the end."""
    gaps = rng.uniform(0.5, 0.9, int(seconds / 0.5) + 4)
    times = np.cumsum(gaps) - gaps[0] - rng.uniform(0, gaps[1])
    return times[: int(np.searchsorted(times, seconds)) + 1]


def _draw_distance(rng: np.random.Generator, pair: Pair) -> float:
    """Draw a distance with the distribution of a random frame of a splitting pair."""
    return float(rng.uniform(pair.near, pair.far))


def _stepwise(way: Array, turn: float, knots: Array, kicked: bool) -> Performance:
    """Return the performance along ``[E, 3]`` positions at the knots, without rotation."""
    path = Steps(np.concatenate([way, np.full((len(way), 1), turn)], axis=-1), knots, kicked)
    return Performance(path, path.impacts(0))


def _part(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float, kicked: bool) -> list[Performance]:
    """Draw a split (kicked) or its time reversal, a merge."""
    knots = _knots(rng, seconds)
    distances = np.linspace(pair.near, pair.far, len(knots))[:: 1 if kicked else -1]
    ways = np.stack([pair.ends(distance) for distance in distances], axis=1)  # [2, E, 3]
    return [_stepwise(way, turn, knots, kicked) for way, turn in zip(ways, turns, strict=True)]


def split(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Kick the two apart, again and again; friction stops them after each kick."""
    return _part(rng, pair, turns, seconds, kicked=True)


def merge(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Draw the two together, again and again, stopping dead each time: split in reverse."""
    return _part(rng, pair, turns, seconds, kicked=False)


def slide(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Kick both in the same direction, a new one each time; friction stops them after each kick."""
    knots = _knots(rng, seconds)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.6, 1.4, len(knots)) * np.pi)  # turns by 108° or more
    way = rng.uniform(0.5, 0.9, len(knots))[:, None] * floor_direction(angles)
    ends = pair.ends(_draw_distance(rng, pair), moving=True)
    return [_stepwise(place + way, turn, knots, True) for place, turn in zip(ends, turns, strict=True)]


def spin(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Strike each so that it spins in place; friction slows the rotation after each stroke."""
    done = []
    for place, start in zip(pair.ends(_draw_distance(rng, pair)), turns, strict=True):
        turn, knots = rng.choice([-1, 1]) * rng.uniform(2.0, 3.2), _knots(rng, seconds)
        stops = np.append(place, start) + np.arange(len(knots))[:, None] * np.array([0, 0, 0, turn])
        path = Steps(stops, knots, True)
        done.append(Performance(path, path.impacts(0.3)))
    return done


def _orbit(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float, way: int) -> list[Performance]:
    count, lap = int(rng.integers(4, 6)), rng.uniform(2.2, 3.0)
    radius = 0.58 * max(_draw_distance(rng, pair), 1.4)  # a polygon's sides are nearer than its corners
    angles = rng.uniform(0, 2 * np.pi) + way * 2 * np.pi * (np.arange(count) + rng.uniform(-0.25, 0.25, count)) / count
    corners = np.zeros((count + 1, 4))
    corners[:-1, :3] = pair.centre + radius * floor_direction(angles)
    corners[-1] = corners[0]
    sides = np.linalg.norm(np.diff(corners[:, :3], axis=0), axis=-1)
    arrivals = np.append(0, np.cumsum(sides)) * lap / sides.sum()
    start, speed = rng.uniform(0, lap), sides.sum() / lap
    done = []
    for who in (0, 1):
        corners = corners.copy()
        corners[:, 1], corners[:, 3] = -pair.heights[who], turns[who]
        ahead = start + 0.5 * who * lap
        laps = lap * np.arange(-1, int(seconds / lap) + 2)[:, None] + arrivals[:-1] - ahead
        times = np.sort(laps.ravel())
        done.append(Performance(Round(corners, arrivals, ahead), Impacts(times, np.full(times.shape, speed))))
    return done


def orbit_left(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Circle anticlockwise as seen from above, opposite each other, with an impact at each corner."""
    return _orbit(rng, pair, turns, seconds, 1)


def orbit_right(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Circle clockwise as seen from above: orbit_left in reverse."""
    return _orbit(rng, pair, turns, seconds, -1)


def bounce(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Let each bounce lower and lower; once low, it is thrown up again."""
    done = []
    for who, place in enumerate(pair.ends(_draw_distance(rng, pair), lift=0)):
        first, kept = rng.uniform(0.9, 1.15), rng.uniform(0.76, 0.86)
        landings, gap = [-rng.uniform(0, first)], first
        while landings[-1] < seconds:
            landings.append(landings[-1] + gap)
            gap = gap * kept if gap * kept > 0.3 else first
        times = np.array(landings)
        impacts = Impacts(times[1:], 0.5 * GRAVITY * np.diff(times))
        done.append(Performance(Hops(np.append(place, turns[who]), times), impacts))
    return done


def swing(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Swing both together between stops, in narrowing arcs; once narrow, they are pushed again."""
    sideways = floor_direction(rng.uniform(-0.6, 0.6))
    widest, kept, half = rng.uniform(0.55, 0.7), rng.uniform(0.84, 0.92), rng.uniform(0.5, 0.75)
    count = int(seconds / half) + 3
    sides = np.where(np.arange(count) % 2, -1.0, 1.0) * rng.choice([-1.0, 1.0])
    angles = sides * widest * np.power(kept, np.mod(np.arange(count) + rng.integers(0, 6), 6))
    stops, length = half * np.arange(count, dtype=np.float64) - rng.uniform(0, half), rng.uniform(1.6, 2.1)
    done = []  # the arc adds the rest of the height
    for place, turn in zip(pair.ends(_draw_distance(rng, pair), lift=0.8, moving=True), turns, strict=True):
        path = Pendulum(np.append(place, turn), sideways, length, stops, angles)
        done.append(Performance(path, path.impacts()))
    return done


ACTIONS = {f.__name__: f for f in (bounce, merge, orbit_left, orbit_right, slide, spin, split, swing)}
