"""The look and the voice of a synthetic person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.face_mesh import AXIS, HALF, LEFT, Array
from avssl.synthetic.looks import Image, noise
from avssl.synthetic.sound import ROOM

TEXELS = 48  # per distance of the eyes
CORNER = (-1.2, -1.05)  # x, y of the texture's first texel in the plane of the mean face
EXTENT = (2.4, 2.95)  # width and height of the texture
LIGHT_SKIN, DARK_SKIN = (238, 198, 172), (104, 68, 48)
IRISES = ((70, 45, 30), (60, 95, 130), (75, 100, 60), (40, 30, 25))
HAIRS = ((35, 28, 25), (80, 52, 35), (150, 110, 65), (120, 60, 35), (150, 148, 145))


@dataclass(frozen=True)
class Person:
    """The looks of one person.

    Attributes:
        texture: ``[h, w, 3]`` float32 RGB to 255 over the plane of the mean face (`texels`).
        skin: ``[3]`` mean colour.
        hair: ``[3]`` colour.
        clothes: ``[3]`` colour.
    """

    texture: Image
    skin: Array
    hair: Array
    clothes: Array

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Person:
        """Draw a person."""
        tone, warm = rng.uniform(), rng.uniform(-8, 8)
        skin = (1 - tone) * np.array(LIGHT_SKIN, float) + tone * np.array(DARK_SKIN, float) + [warm, 0, -warm]
        hair = np.array(HAIRS[rng.integers(len(HAIRS))], float) * rng.uniform(0.8, 1.1)
        clothes = rng.uniform(30, 210, 3)
        return cls(_texture(rng, skin, hair), skin, hair, clothes)


def texels(places: Array) -> Array:
    """Convert places ``[..., 2]`` in the plane of the mean face to x, y in the texture."""
    return np.asarray((places - np.array(CORNER)) * TEXELS)


def _texture(rng: np.random.Generator, skin: Array, hair: Array) -> Image:
    width, height = (round(side * TEXELS) for side in EXTENT)
    grain = noise(rng, height, width, 2.5)[..., None]
    picture = (skin + 5 * grain).astype(np.float32)
    y, x = np.mgrid[:height, :width] / TEXELS + np.array(CORNER[::-1])[:, None, None]
    spots = rng.uniform([-0.9, -0.7], [0.9, 1.6], (rng.integers(3, 12), 2))
    for place in spots:  # moles and freckles
        near = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.025**2)
        picture -= (rng.uniform(20, 70) * near)[..., None].astype(np.float32)
    blush = rng.uniform(5, 30) * np.exp(-((np.abs(x) - 0.6) ** 2 + (y - 0.6) ** 2) / 0.06)
    picture += blush[..., None] * np.array([0.4, -0.6, -0.6])
    sockets = np.exp(-(((np.abs(x) - LEFT) / 0.32) ** 2) - ((y + 0.02) / 0.2) ** 2)
    sides = np.exp(-(((np.abs(x) - 0.15) / 0.05) ** 2) - ((y - 0.35) / 0.3) ** 2)
    picture *= (1 - 0.16 * sockets - 0.12 * sides)[..., None].astype(np.float32)
    if rng.uniform() < 0.3:  # a beard
        lower = 1 / (1 + np.exp(-(y - 0.85 - 0.25 * (np.abs(x) < 0.5)) / 0.05)) * rng.uniform(0.4, 0.9)
        rough = lower[..., None] * np.clip(1 + 0.3 * grain, 0, 1)
        picture = picture + rough * (hair - picture)
    picture = picture.astype(np.float32)
    brow = 0.25 * skin + 0.75 * hair
    lips = skin * [1.0, 0.62, 0.62] * rng.uniform(0.8, 1.05)
    iris = np.array(IRISES[rng.integers(len(IRISES))], float) * rng.uniform(0.8, 1.3)
    for side in (-1, 1):
        eye = _outline("eye_inner lid_upper_in lid_upper_out eye_outer lid_lower_out lid_lower_in", side)
        _fill(picture, _outline("brow_in brow brow_out brow_out_top brow_top brow_in_top", side), brow)
        _fill(picture, eye, np.array([235, 232, 228.0]))
        _disc(picture, (side * LEFT, 0.0), 0.095, iris)
        _disc(picture, (side * LEFT, 0.0), 0.045, np.array([15, 12, 12.0]))
        cv2.polylines(picture, [_fixed(eye[:4])], False, (0.4 * skin).tolist(), 2, cv2.LINE_AA, 4)
        _disc(picture, (side * 0.1, 0.69), 0.045, 0.3 * skin)
    upper, lower = "lip_upper lip_upper_side mouth_corner", "mouth_corner lip_lower_side lip_lower"
    inner = "inner_upper inner_upper_side mouth_corner inner_lower_side inner_lower"
    for names, colour in ((f"{upper} {lower}", lips), (inner, np.array([45, 18, 20.0]))):
        right = _outline(names, 1)
        _fill(picture, np.concatenate([right, right[::-1] * [-1, 1]]), colour)
    return np.clip(picture, 4, 250).astype(np.float32)


def _outline(names: str, side: int) -> Array:
    return np.array([AXIS.get(name) or (side * HALF[name][0], HALF[name][1]) for name in names.split()])


def _fixed(places: Array) -> NDArray[np.int32]:
    return np.round(texels(places) * 16).astype(np.int32)


def _fill(picture: Image, places: Array, colour: Array) -> None:
    cv2.fillPoly(picture, [_fixed(places)], colour.tolist(), cv2.LINE_AA, 4)


def _disc(picture: Image, middle: tuple[float, float], radius: float, colour: Array) -> None:
    x, y = _fixed(np.array(middle)).tolist()
    cv2.circle(picture, (x, y), round(radius * TEXELS * 16), colour.tolist(), -1, cv2.LINE_AA, 4)


@dataclass(frozen=True)
class Speech:
    """Syllables: when each begins, how long it takes, and how far the mouth opens."""

    starts: Array  # [S] seconds
    lengths: Array  # [S] seconds
    levels: Array  # [S] 0 to 1

    @classmethod
    def draw(cls, rng: np.random.Generator, seconds: float) -> Speech:
        """Draw words of some syllables with pauses between them."""
        rows, time = [], rng.uniform(0.05, 0.4)
        while time < seconds:
            for _ in range(rng.integers(2, 6)):
                length = rng.uniform(0.14, 0.3)
                rows.append((time, length, rng.uniform(0.3, 1.0)))
                time += length * rng.uniform(0.85, 1.1)
            time += rng.uniform(0.2, 0.6)
        return cls(*np.array(rows).T)

    def opening(self, times: Array) -> Array:
        """Return how far the mouth is open at ``[T]`` seconds, 0 to about 1."""
        inside = (times[:, None] - self.starts) / self.lengths  # [T, S]
        bumps = np.where((inside > 0) & (inside < 1), np.sin(np.pi * np.clip(inside, 0, 1)) ** 2, 0)
        return np.asarray((bumps * self.levels).sum(1))


def voice(rng: np.random.Generator, opening: Array, rate: int) -> NDArray[np.float32]:
    """Return the sound ``[S]`` of a voice whose mouth is open by ``[S]`` at each sample; a closed mouth is silent.

    Harmonics of a fundamental pass two formants; the wider the mouth, the louder the voice and the higher the first.
    """
    times = np.arange(len(opening)) / rate
    pitch = rng.uniform(95, 230) * (1 + 0.06 * np.sin(2 * np.pi * (rng.uniform(0.4, 1.2) * times + rng.uniform())))
    turns = 2 * np.pi * np.cumsum(pitch) / rate
    second, sound = rng.uniform(1100, 2000), np.zeros(len(opening))
    for harmonic in range(1, int(min(3500, 0.45 * rate) / pitch.max())):
        hertz = harmonic * pitch
        share = np.exp(-(((hertz - 320 - 430 * opening) / 220) ** 2)) + 0.4 * np.exp(-(((hertz - second) / 300) ** 2))
        sound += (share + 0.15 / harmonic) * np.sin(harmonic * turns + rng.uniform(0, 2 * np.pi))
    sound = 0.12 * opening * sound + ROOM * rng.standard_normal(len(opening))
    return (sound * min(1.0, 0.95 / np.abs(sound).max())).astype(np.float32)
