"""How a synthetic face is filmed, and how heads move."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avssl.synthetic.face_mesh import Array
from avssl.synthetic.looks import Image, cut_out, surface

MARGIN = 0.1  # of the background around the frame, as a share of it


class Film(NamedTuple):
    """How a scene is filmed.

    Attributes:
        wall: background, larger than the frame by `MARGIN` on each side, RGB to 255.
        light: ``[3]`` unit vector to the light.
        ambient: brightness where the light does not fall.
        diffuse: brightness that the light adds where it falls straight.
        gains: ``[3]`` of red, green and blue.
        gamma: exponent of the brightness.
        noise: standard deviation of each pixel's noise, of 255.
        blur: standard deviation of the blur in pixels.
        shake: radius of the camera's shaking, as a share of the frame.
    """

    wall: Image
    light: Array
    ambient: float
    diffuse: float
    gains: Array
    gamma: float
    noise: float
    blur: float
    shake: float

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int, phone: bool) -> Film:
        """Draw how a scene is filmed: evenly lit before a plain wall, or by a phone."""
        side = round(size * (1 + 2 * MARGIN))
        if not phone:
            grey = rng.uniform(90, 190)
            slope = np.linspace(-1, 1, side)[:, None, None] * rng.uniform(-20, 20)
            wall = np.broadcast_to(grey + slope, (side, side, 3)).astype(np.float32)
            sun = np.array([rng.uniform(-0.3, 0.3), rng.uniform(-0.5, -0.1), 1.0])
            return cls(wall, sun / np.linalg.norm(sun), 0.6, 0.45, np.ones(3), 1.0, 1.0, 0.0, 0.0)
        wall = surface(rng, side, side, 3.0)[..., :3] * np.float32(rng.uniform(0.8, 1.6))
        for _ in range(rng.integers(3, 8)):
            thing = cut_out(rng, int(rng.uniform(0.12, 0.4) * size), vivid=bool(rng.integers(2)))
            top, left = rng.integers(0, side - len(thing), 2)
            part = wall[top : top + len(thing), left : left + len(thing)]
            part *= 1 - thing[..., 3:]
            part += thing[..., :3]
        angle, high = rng.choice([-1, 1]) * rng.uniform(0.7, 1.4), rng.uniform(-1.0, 0.3)
        sun = np.array([np.sin(angle), high, np.cos(angle)])
        return cls(
            wall,
            sun / np.linalg.norm(sun),
            rng.uniform(0.2, 0.5),
            rng.uniform(0.7, 1.2),
            rng.uniform(0.7, 1.15, 3),
            rng.uniform(0.7, 1.5),
            rng.uniform(3, 10),
            rng.uniform(0.0, 0.9),
            rng.uniform(0.005, 0.02),
        )


class Waves(NamedTuple):
    """K smooth curves, each between two values."""

    low: Array  # [K]
    high: Array  # [K]
    rates: Array  # [3, K] swings a second
    phases: Array  # [3, K]
    shares: Array  # [3, K], summing to 1

    @classmethod
    def draw(cls, rng: np.random.Generator, low: list[float], high: list[float], fastest: list[float]) -> Waves:
        """Draw curves of up to ``fastest`` swings a second."""
        count = len(low)
        rates, phases = rng.uniform(0.15, fastest, (3, count)), rng.uniform(0, 1, (3, count))
        return cls(np.array(low), np.array(high), rates, phases, rng.dirichlet([2, 2, 2], count).T)

    def __call__(self, times: Array) -> Array:
        """Return ``[T, K]`` at ``[T]`` seconds."""
        turns = 2 * np.pi * (times[:, None, None] * self.rates + self.phases)
        wave = (self.shares * np.sin(turns)).sum(1)
        return np.asarray((self.low + self.high) / 2 + wave * (self.high - self.low) / 2)
