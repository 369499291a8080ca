"""The look of surfaces: random multi-scale noise for the room, random cut-outs for the objects in it."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

SHAPES = ("disc", "square", "triangle", "star", "ring", "hexagon", "cross")
PATTERNS = ("stripes", "checks", "spots", "halves")


def noise(rng: np.random.Generator, height: int, width: int, finest: float) -> Image:
    """Draw ``[H, W]`` float32 noise with equal contrast at every scale, the finest of ``finest`` texels.

    The mean is about 0 and the standard deviation about 1.
    """
    total = np.zeros((height, width), np.float32)
    scale, octaves = finest, 0
    while scale < max(height, width):
        grid = rng.standard_normal((int(height / scale) + 3, int(width / scale) + 3), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        scale, octaves = scale * 2.3, octaves + 1
    return total * np.float32(1.4 / np.sqrt(octaves))


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Image:
    rgb = colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return np.array(rgb, np.float32) * 255


def surface(rng: np.random.Generator, height: int, width: int, finest: float) -> Image:
    """Draw a wall or floor, a dull colour mixed with a darker one: ``[H, W, 4]`` float32, RGB to 255, alpha 1."""
    one = _colour(rng, (0.0, 0.25), (0.25, 0.6))
    other = one * np.float32(rng.uniform(0.55, 0.8))
    mix = 0.5 + 0.35 * noise(rng, height, width, finest * 2)[..., None]
    picture = one + (other - one) * np.clip(mix, 0, 1) + 6 * noise(rng, height, width, finest)[..., None]
    return np.concatenate([np.clip(picture, 5, 235), np.ones((height, width, 1), np.float32)], axis=-1)


def _outline(rng: np.random.Generator, shape: str) -> NDArray[np.float64]:
    """Draw ``[P, 2]`` corners within the unit circle."""
    if shape in ("disc", "ring"):
        points = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        return np.stack([np.cos(points), np.sin(points)], axis=-1)
    if shape == "star":
        count, dent = int(rng.integers(5, 8)), rng.uniform(0.5, 0.65)
        points, radii = np.pi * np.arange(2 * count) / count, np.where(np.arange(2 * count) % 2, dent, 1)
        return np.stack([np.cos(points), np.sin(points)], axis=-1) * radii[:, None]
    if shape == "cross":
        a, b = 0.92, 0.38
        half = np.array([(a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b)])
        return np.concatenate([half, -half])
    count = {"triangle": 3, "square": 4, "hexagon": 6}[shape]
    points = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(points), np.sin(points)], axis=-1)


def _pattern(rng: np.random.Generator, size: int) -> Image:
    """Draw a pattern without rotational symmetry: ``[S, S]`` float32 in [0, 1]."""
    kind, angle = rng.choice(PATTERNS), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    pitch = rng.uniform(3.5, 6.0)
    if kind == "stripes":
        values = np.sin(pitch * along + 1)
    elif kind == "checks":
        values = np.sin(pitch * along + 1) * np.sin(pitch * across + 1) * 2
    elif kind == "spots":
        values = np.max([0.35 - np.hypot(x - a, y - b) for a, b in rng.uniform(-0.7, 0.7, (4, 2))], axis=0) * 12
    else:
        values = along * 8 + 1
    return np.clip(0.5 + values * 2, 0, 1).astype(np.float32)


def cut_out(rng: np.random.Generator, texels: int, vivid: bool) -> Image:
    """Draw an object: shape, two colours, pattern, grain and a dark rim.

    The shape's bounding circle has a diameter of ``texels``; the image is two texels wider on each side. ``vivid``
    colours are bright; others are dull like the room's. Returns ``[S, S, 4]`` float32 RGBA with colours premultiplied
    by alpha, 0 to 255, and alpha from 0 to 1.
    """
    size, fine = texels + 4, 4
    shape = str(rng.choice(SHAPES))
    saturation, value = ((0.65, 1.0), (0.65, 1.0)) if vivid else ((0.0, 0.3), (0.25, 0.6))
    one, other = _colour(rng, saturation, value), _colour(rng, saturation, value)
    corners = (_outline(rng, shape) * texels / 2 + size / 2) * fine
    inside = np.zeros((size * fine, size * fine), np.float32)
    cv2.fillPoly(inside, [np.round(corners).astype(np.int32)], 1.0)
    rim = np.zeros_like(inside)
    cv2.polylines(rim, [np.round(corners).astype(np.int32)], True, 1.0, int(0.09 * texels * fine))
    if shape == "ring":
        middle, hole = (size * fine // 2, size * fine // 2), int(0.42 * texels / 2 * fine)
        cv2.circle(inside, middle, hole, 0.0, -1)
        cv2.circle(rim, middle, hole, 1.0, int(0.07 * texels * fine))
    alpha = cv2.resize(inside, (size, size), interpolation=cv2.INTER_AREA)[..., None]
    dark = 1 - 0.75 * cv2.resize(rim, (size, size), interpolation=cv2.INTER_AREA)[..., None]
    colours = other + (one - other) * _pattern(rng, size)[..., None]
    colours = np.clip((colours + 12 * noise(rng, size, size, 3)[..., None]) * dark, 0, 245)
    return np.concatenate([colours * alpha, alpha], axis=-1).astype(np.float32)
