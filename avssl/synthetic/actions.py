"""The actions: how a pair of objects moves, and when it makes a noise. Closed forms of time, no integration.

World axes in metres: X to the right, Y *down*, Z away from the camera; the floor is Y = 0. The world is a puppet
theatre: flat things on unseen wires. Each action is a path in time for two of them, a pair. What a still picture could
tell is kept alike between the actions: where the pair is, the line that it lies along, the distance between the two,
their heights, looks and angles follow, at a random moment, (nearly) the same distribution whatever the action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRAVITY = 9.8
"""Metres per second squared."""


class Path(Protocol):
    """The way of one object."""

    def __call__(self, t: Array) -> Array:
        """``[...]`` seconds to ``[..., 4]``: X, Y and Z of the object's lowest point, and its turn in radians."""
        ...


class Impacts(NamedTuple):
    """Moments at which one object is struck: ``[E]`` seconds, and ``[E]`` speeds in metres per second."""

    times: Array
    speeds: Array


def floor_way(angle: Array | float) -> Array:
    """``[...]`` radians to ``[..., 3]`` on the floor: ways into the depth are shortened, as there is less room."""
    return np.stack([np.cos(angle), np.zeros_like(angle), 0.6 * np.sin(angle)], axis=-1)


class Pair(NamedTuple):
    """Where an action takes place.

    Attributes:
        base: ``[3]`` on the floor: the middle of what the pair's centre moves round, where it moves.
        centre: ``[3]`` on the floor: the pair's centre where it stays. About as far from the base as a moving one.
        heights: ``[2]`` of the objects; those of bouncing objects at a random moment.
        heading: radians on the floor from the first object to the second.
        near: smallest distance of the two.
        far: largest distance of the two.
    """

    base: Array
    centre: Array
    heights: Array
    heading: float
    near: float
    far: float

    @classmethod
    def draw(cls, rng: np.random.Generator, near: float) -> Pair:
        """A random pair; ``near`` is how close the objects come."""
        base = np.array([rng.uniform(-0.3, 0.3), 0, rng.uniform(4.4, 5.2)])
        centre = base + np.sqrt(rng.uniform(0, 0.7)) * floor_way(rng.uniform(0, 2 * np.pi))
        heights = 0.5 * GRAVITY * rng.uniform(0.3, 1.15, 2) ** 2 * (u := rng.uniform(0, 1, 2)) * (1 - u)
        return cls(base, centre, heights, rng.uniform(0, 2 * np.pi), near, rng.uniform(3.0, 3.6))

    def ends(self, distance: float, lift: float = 1.0, moving: bool = False) -> tuple[Array, Array]:
        """The places ``[3]`` of both objects, ``distance`` apart: about the centre, or the base if moving."""
        half = 0.5 * distance * floor_way(self.heading)
        middle = self.base if moving else self.centre
        first, second = np.array([[0, -h, 0] for h in self.heights * lift])
        return middle - half + first, middle + half + second


@dataclass(frozen=True)
class Steps:
    """Straight on and turning in place from stop to stop; each step starts or ends with a jolt.

    Attributes:
        stops: ``[E, 4]`` places and turns at the knots.
        knots: ``[E]`` seconds, before the start to after the end of the video.
        kicked: True where a kick starts each step and friction ends it, False for the time reversal of that.
    """

    stops: Array
    knots: Array
    kicked: bool

    def __call__(self, t: Array) -> Array:
        """See :class:`Path`."""
        i = np.clip(np.searchsorted(self.knots, t, side="right") - 1, 0, len(self.knots) - 2)
        u = np.clip((t - self.knots[i]) / (self.knots[i + 1] - self.knots[i]), 0, 1)
        done = 1 - (1 - u) ** 2 if self.kicked else u**2
        return self.stops[i] + done[..., None] * (self.stops[i + 1] - self.stops[i])

    def impacts(self, arm: float) -> Impacts:
        """The jolts, ``arm`` being the distance from its axis at which a turning object is struck."""
        steps = np.diff(self.stops, axis=0)
        lengths = np.linalg.norm(steps[:, :3], axis=-1) + arm * np.abs(steps[:, 3])
        return Impacts(self.knots[:-1] if self.kicked else self.knots[1:], 2 * lengths / np.diff(self.knots))


@dataclass(frozen=True)
class Round:
    """At constant speed around a polygon, knocking at each corner.

    Attributes:
        corners: ``[C + 1, 4]`` places, the last equal to the first.
        arrivals: ``[C + 1]`` seconds within a lap, from 0 to the lap's time.
        ahead: seconds by which this object is ahead.
    """

    corners: Array
    arrivals: Array
    ahead: float

    def __call__(self, t: Array) -> Array:
        """See :class:`Path`."""
        lap = np.mod(t + self.ahead, self.arrivals[-1])
        return np.stack([np.interp(lap, self.arrivals, c) for c in self.corners.T], axis=-1)


@dataclass(frozen=True)
class Hops:
    """Flights under gravity between landings.

    Attributes:
        place: ``[4]`` on the floor.
        landings: ``[E]`` seconds, before the start to after the end of the video.
    """

    place: Array
    landings: Array

    def __call__(self, t: Array) -> Array:
        """See :class:`Path`."""
        i = np.clip(np.searchsorted(self.landings, t, side="right") - 1, 0, len(self.landings) - 2)
        since, left = t - self.landings[i], self.landings[i + 1] - t
        height = 0.5 * GRAVITY * np.maximum(since * left, 0)
        return self.place + np.stack([0 * t, -height, 0 * t, 0 * t], axis=-1)


@dataclass(frozen=True)
class Pendulum:
    """Arcs between stops on either side; what is lost at each stop makes the next arc narrower.

    Attributes:
        place: ``[4]`` of the lowest point.
        sideways: ``[3]`` unit vector on the floor in which it swings.
        length: metres from the (unseen) pivot.
        stops: ``[E]`` seconds at which the stops are hit.
        angles: ``[E]`` radians there, of alternating sign.
    """

    place: Array
    sideways: Array
    length: float
    stops: Array
    angles: Array

    def __call__(self, t: Array) -> Array:
        """See :class:`Path`."""
        i = np.clip(np.searchsorted(self.stops, t, side="right") - 1, 0, len(self.stops) - 2)
        u = (t - self.stops[i]) / (self.stops[i + 1] - self.stops[i])
        swung = 0.5 * (1 - np.cos(np.pi * (0.15 + 0.7 * u)) / np.cos(0.15 * np.pi))  # the middle 70 % of a half swing
        angle = self.angles[i] + swung * (self.angles[i + 1] - self.angles[i])
        moved = self.length * np.sin(angle)[..., None] * self.sideways
        moved[..., 1] -= self.length * (1 - np.cos(angle))
        return self.place + np.concatenate([moved, np.zeros_like(angle)[..., None]], axis=-1)

    def impacts(self) -> Impacts:
        """The knocks against the stops."""
        slope = 0.35 * np.pi * np.sin(0.15 * np.pi) / np.cos(0.15 * np.pi)
        speeds = self.length * slope * np.abs(np.diff(self.angles)) / np.diff(self.stops)
        return Impacts(self.stops[1:], speeds)


class Performance(NamedTuple):
    """What one object does: its path, and its impacts (also those before and after the video)."""

    path: Path
    impacts: Impacts


def _knots(rng: np.random.Generator, seconds: float) -> Array:
    """Irregular moments 0.5 to 0.9 s apart, from before the start to after the end."""
    gaps = rng.uniform(0.5, 0.9, int(seconds / 0.5) + 4)
    times = np.cumsum(gaps) - gaps[0] - rng.uniform(0, gaps[1])
    return times[: int(np.searchsorted(times, seconds)) + 1]


def _draw_distance(rng: np.random.Generator, pair: Pair) -> float:
    """A distance as a random picture of a splitting pair shows it."""
    return float(rng.uniform(pair.near, pair.far))


def _stepwise(way: Array, turn: float, knots: Array, kicked: bool) -> Performance:
    """Along ``[E, 3]`` places at the knots, without turning."""
    path = Steps(np.concatenate([way, np.full((len(way), 1), turn)], axis=-1), knots, kicked)
    return Performance(path, path.impacts(0))


def _part(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float, kicked: bool) -> list[Performance]:
    """Split (kicked) and its time reversal, merge."""
    knots = _knots(rng, seconds)
    distances = np.linspace(pair.near, pair.far, len(knots))[:: 1 if kicked else -1]
    ways = np.stack([pair.ends(distance) for distance in distances], axis=1)  # [2, E, 3]
    return [_stepwise(way, turn, knots, kicked) for way, turn in zip(ways, turns, strict=True)]


def split(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """The two kick each other apart, again and again; friction stops them after each kick."""
    return _part(rng, pair, turns, seconds, kicked=True)


def merge(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """The two are drawn together, again and again, stopping dead each time: split run backwards."""
    return _part(rng, pair, turns, seconds, kicked=False)


def slide(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Both are kicked the same way, each time another, and friction stops them after each kick."""
    knots = _knots(rng, seconds)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.6, 1.4, len(knots)) * np.pi)  # turns by 108° or more
    way = rng.uniform(0.5, 0.9, len(knots))[:, None] * floor_way(angles)
    ends = pair.ends(_draw_distance(rng, pair), moving=True)
    return [_stepwise(place + way, turn, knots, True) for place, turn in zip(ends, turns, strict=True)]


def spin(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Each is struck to turn in place, and friction slows the turning after each stroke."""
    done = []
    for who, place in enumerate(pair.ends(_draw_distance(rng, pair))):
        turn = rng.choice([-1, 1]) * rng.uniform(2.0, 3.2)
        knots = _knots(rng, seconds)
        stops = np.append(place, turns[who]) + np.arange(len(knots))[:, None] * np.array([0, 0, 0, turn])
        path = Steps(stops, knots, True)
        done.append(Performance(path, path.impacts(0.3)))
    return done


def _orbit(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float, way: int) -> list[Performance]:
    count, lap = int(rng.integers(4, 6)), rng.uniform(2.2, 3.0)
    radius = 0.58 * max(_draw_distance(rng, pair), 1.4)  # a polygon's sides are nearer than its corners
    angles = rng.uniform(0, 2 * np.pi) + way * 2 * np.pi * (np.arange(count) + rng.uniform(-0.25, 0.25, count)) / count
    corners = np.zeros((count + 1, 4))
    corners[:-1, :3] = pair.centre + radius * floor_way(angles)
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
    """Both circle anticlockwise as seen from above, opposite each other, knocking at the corners of their way."""
    return _orbit(rng, pair, turns, seconds, 1)


def orbit_right(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Both circle clockwise as seen from above: orbit_left run backwards."""
    return _orbit(rng, pair, turns, seconds, -1)


def bounce(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Each falls and bounces lower and lower; once low, it is thrown up anew."""
    done = []
    for who, place in enumerate(pair.ends(_draw_distance(rng, pair), lift=0)):
        first, kept = rng.uniform(0.9, 1.15), rng.uniform(0.76, 0.86)
        landings, gap = [-rng.uniform(0, first)], first
        while landings[-1] < seconds:
            landings.append(landings[-1] + gap)
            gap = gap * kept if gap * kept > 0.3 else first
        times = np.array(landings)
        arriving = 0.5 * GRAVITY * np.diff(times)
        done.append(Performance(Hops(np.append(place, turns[who]), times), Impacts(times[1:], arriving)))
    return done


def swing(rng: np.random.Generator, pair: Pair, turns: Array, seconds: float) -> list[Performance]:
    """Both swing to and fro together between stops, in narrowing arcs; once narrow, they are pushed anew."""
    sideways = floor_way(rng.uniform(-0.6, 0.6))
    widest, kept, half = rng.uniform(0.55, 0.7), rng.uniform(0.84, 0.92), rng.uniform(0.5, 0.75)
    count = int(seconds / half) + 3
    sides = np.where(np.arange(count) % 2, -1.0, 1.0) * rng.choice([-1.0, 1.0])
    angles = sides * widest * np.power(kept, np.mod(np.arange(count) + rng.integers(0, 6), 6))
    stops, length = half * np.arange(count, dtype=np.float64) - rng.uniform(0, half), rng.uniform(1.6, 2.1)
    done = []
    ends = pair.ends(_draw_distance(rng, pair), lift=0.8, moving=True)  # the rest of the height is the arc's own
    for place, turn in zip(ends, turns, strict=True):
        path = Pendulum(np.append(place, turn), sideways, length, stops, angles)
        done.append(Performance(path, path.impacts()))
    return done


ACTIONS = {f.__name__: f for f in (bounce, merge, orbit_left, orbit_right, slide, spin, split, swing)}
