"""Odd acts: what can't happen in a world, in scenes that are otherwise as they would be without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from avssl.synthetic.actions import GRAVITY, Hops, Impacts, Performance, Steps
from avssl.synthetic.camera import Array

KINDS = ("high", "through", "mute", "late")
HIGHER = 1.5  # a flight lasts so many times as long as the one before: 2.25 times as high
DELAY = (0.2, 0.35)  # seconds by which an impact is heard late
ECHO = 0.3  # seconds for which a missing or late sound is odd
EARLIEST, LATEST = 0.15, 0.75  # shares of the video between which an odd act begins


class Oddity(NamedTuple):
    """An odd act.

    Attributes:
        kind: ``high``: a thing rises higher than it fell; ``through``: two things pass through each other; ``mute``:
            an impact is not heard; ``late``: it is heard late.
        start: seconds at which it begins.
        stop: seconds at which it ends.
        delay: seconds by which the impact is heard late; 0 of other kinds.
    """

    kind: str
    start: float
    stop: float
    delay: float = 0.0


def make_odd(
    rng: np.random.Generator, action: str, acts: Sequence[Performance], seconds: float
) -> tuple[list[Performance], Oddity | None]:
    """Make something in a performance odd: a bounce rises, a pair passes through each other, or a sound is wrong.

    Returns:
        The performance, changed if what is seen is odd, and the odd act; none if nothing happens at the right time.
    """
    if action == "bounce":
        return _rise(rng, acts, seconds)
    if action in ("merge", "split"):
        return _pass(acts, seconds)
    kind, delay = ("mute", 0.0) if rng.random() < 0.5 else ("late", float(rng.uniform(*DELAY)))
    times, speeds = (np.concatenate([getattr(act.impacts, name) for act in acts]) for name in ("times", "speeds"))
    usable = np.flatnonzero(_within(times, seconds))
    if not len(usable):
        return list(acts), None
    when = float(times[usable[speeds[usable].argmax()]])
    return list(acts), Oddity(kind, when, min(when + delay + ECHO, seconds), delay)


def heard(oddity: Oddity | None, times: Array) -> Array:
    """Return when impacts at ``[E]`` seconds are heard; never is infinity."""
    if oddity is None or oddity.kind not in ("mute", "late"):
        return times
    struck = np.abs(times - oddity.start) < 0.02
    return np.where(struck, np.inf if oddity.kind == "mute" else times + oddity.delay, times)


def _within(times: Array, seconds: float) -> np.ndarray:
    return (times >= EARLIEST * seconds) & (times <= LATEST * seconds)


def _rise(
    rng: np.random.Generator, acts: Sequence[Performance], seconds: float
) -> tuple[list[Performance], Oddity | None]:
    """Let one of two bouncing things rise higher than it fell, after its longest fall in time."""
    changed, who = list(acts), int(rng.integers(len(acts)))
    path = acts[who].path
    assert isinstance(path, Hops)
    gaps = np.diff(path.landings)
    usable = [k for k in range(1, len(gaps)) if _within(path.landings[k], seconds)]
    if not usable:
        return changed, None
    k = max(usable, key=lambda number: gaps[number - 1])
    gaps[k] = HIGHER * gaps[k - 1]
    landings = path.landings[0] + np.append(0, np.cumsum(gaps))
    changed[who] = Performance(
        replace(path, landings=landings), Impacts(landings[1:], 0.5 * GRAVITY * np.diff(landings))
    )
    return changed, Oddity("high", float(landings[k]), float(min(landings[k + 1], seconds)))


def _pass(acts: Sequence[Performance], seconds: float) -> tuple[list[Performance], Oddity | None]:
    """Let the two swap places in a step in which they are near: halfway they are at one point."""
    first, second = (act.path for act in acts)
    assert isinstance(first, Steps)
    assert isinstance(second, Steps)
    apart = np.linalg.norm(first.stops[:, :3] - second.stops[:, :3], axis=1)
    usable = [k for k in range(len(apart) - 1) if _within(first.knots[k], seconds)]
    if not usable:
        return list(acts), None
    k = min(usable, key=lambda number: apart[number] + apart[number + 1])
    changed = []
    for own, other in ((first, second), (second, first)):
        stops = own.stops.copy()
        stops[k + 1 :, :3] = other.stops[k + 1 :, :3]
        path = replace(own, stops=stops)
        changed.append(Performance(path, path.impacts(0)))
    return changed, Oddity("through", float(first.knots[k]), float(min(first.knots[k + 1], seconds)))
