"""An arena with pillars, seen by a car that drives in it: distances and pictures by ray casting."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.looks import Image, surface
from avssl.synthetic.settings import Settings

Array = NDArray[np.float64]

SIDE, PILLARS = 20.0, 12  # metres, and how many
RADII = 0.3, 0.8  # metres, of pillars
GAP = 1.3  # metres between things, at least
CAR, SPEED = 0.25, 2.0  # radius of the car in metres; metres per second
CURVE = 1 / 1.5  # of the car's way at full steering, one over metres
WALL, EYE = 1.5, 0.45  # metres, height of walls and pillars, and of the camera
VIEW = np.radians(100.0)  # width of the field of view
HEIGHT, WIDTH = 36, 64  # pixels
TEXELS = 16  # per metre
SKY = (190, 205, 225)  # RGB
PURPOSES = 4  # of random numbers: places, looks, acts, sound


@dataclass(frozen=True)
class ArenaWorld(Settings):
    """A collection of drives in arenas, each in one of its own. Equal settings give equal files.

    Files are ``drives/<id>.mp4``, and beside each ``drives/<id>.actions.csv``, what the driver did (`avssl.labels.
    Crashes` reads it). Frames are of 36 x 64 pixels; the driver decides once for each.

    Attributes:
        videos: number of drives.
        seconds: length of each.
        fps: frames, and decisions, per second.
        rate: sampling rate of the sound, in Hz.
        seed: another seed gives other arenas.

    Raises:
        ValueError: if a setting is out of range.
    """

    kind: ClassVar[str] = "arena"
    views: ClassVar[int] = 1
    shape: ClassVar[tuple[int, int]] = (HEIGHT, WIDTH)

    videos: int = 400
    seconds: float = 16.0
    fps: int = 4
    rate: int = 8000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate % self.fps:
            raise ValueError(f"ArenaWorld: a frame must last a whole number of samples, not {self.rate} / {self.fps}")

    def path(self, index: int, view: int = 0) -> str:
        """Return a drive's path within the world's folder."""
        return f"drives/{index:05d}.mp4"

    def rng(self, index: int, purpose: int) -> np.random.Generator:
        """Return a generator for one drive and one purpose, independent of all others."""
        return np.random.default_rng([self.seed, index, purpose, 2018])


class Arena:
    """Walls around a square of 20 x 20 m and twelve round pillars, at random places, with random looks.

    Places are x and y in metres from the middle; headings count in radians from x towards y, so that a larger heading
    is farther to the left.

    Args:
        stage: random numbers of the places.
        looks: random numbers of the looks.

    Attributes:
        centres: ``[12, 2]`` metres.
        radii: ``[12]`` metres.
    """

    def __init__(self, stage: np.random.Generator, looks: np.random.Generator) -> None:
        self._looks = looks
        centres, radii = np.zeros((0, 2)), np.zeros(0)
        while len(radii) < PILLARS:
            radius = stage.uniform(*RADII)
            centre = stage.uniform(-1, 1, 2) * (SIDE / 2 - GAP - radius)
            if (np.hypot(*(centres - centre).T) > radii + radius + GAP).all():
                centres, radii = np.concatenate([centres, centre[None]]), np.append(radii, radius)
        self.centres, self.radii = centres, radii

    def clearance(self, places: Array) -> Array:
        """Return the distance in metres of ``[..., 2]`` places from the nearest wall or pillar, negative within."""
        walls = SIDE / 2 - np.abs(places).max(-1)
        pillars = np.linalg.norm(places[..., None, :] - self.centres, axis=-1) - self.radii
        return np.minimum(walls, pillars.min(-1))

    def distances(self, places: Array, headings: Array) -> tuple[Array, NDArray[np.int64]]:
        """Cast rays from ``[..., 2]`` places along ``[..., R]`` headings.

        Returns:
            ``[..., R]`` metres to what each ray meets first; and what that is: 0 to 11 a pillar, 12 to 15 the walls at
            positive x, negative x, positive y and negative y.
        """
        ways = np.stack([np.cos(headings), np.sin(headings)], -1)  # [..., R, 2]
        to = self.centres - places[..., None, :]  # [..., 12, 2]
        along = np.einsum("...rc,...pc->...rp", ways, to)
        inside = self.radii**2 - (to**2).sum(-1)[..., None, :] + along**2  # squared half chord
        pillars = np.where((inside > 0) & (along > 0), along - np.sqrt(np.maximum(inside, 0)), np.inf)
        safe = np.where(np.abs(ways) < 1e-12, 1e-12, ways)
        ahead = (np.sign(safe) * SIDE / 2 - places[..., None, :]) / safe  # [..., R, 2], to the walls it approaches
        walls = np.stack([np.where(safe > 0, ahead, np.inf), np.where(safe < 0, ahead, np.inf)], -1).reshape(
            *headings.shape, 4
        )
        every = np.concatenate([pillars, walls], -1)
        met = every.argmin(-1)
        return np.take_along_axis(every, met[..., None], -1)[..., 0], met

    def start(self, rng: np.random.Generator) -> Array:
        """Draw a free pose: x, y and heading, ``[3]``."""
        while True:
            place = rng.uniform(-1, 1, 2) * (SIDE / 2 - 1)
            if self.clearance(place) > 1.0:
                return np.array([*place, rng.uniform(-np.pi, np.pi)])

    # Pictures -----------------------------------------------------------------------------------------------------

    @cached_property
    def _textures(self) -> tuple[Image, Image, NDArray[np.float32]]:
        """The floor ``[S, S, 3]``, all walls and pillars ``[16, h, w, 3]``, and the sky's colour ``[3]``."""
        looks = self._looks
        floor = surface(looks, int(SIDE * TEXELS), int(SIDE * TEXELS), 4.0)[..., :3]
        upright = [surface(looks, int(WALL * TEXELS), int(SIDE * TEXELS), 3.0)[..., :3] for _ in range(PILLARS + 4)]
        return floor, np.stack(upright), np.array(SKY, np.float32)

    def frames(self, poses: Array) -> NDArray[np.uint8]:
        """Render what a camera sees at ``[M, 3]`` poses (x, y, heading): ``[M, 36, 64, 3]`` uint8 RGB."""
        floor, upright, sky = self._textures
        places, headings = poses[:, :2], poses[:, 2:]
        angles = column_angles()  # [64]
        rays = headings + angles  # [M, 64]
        distance, met = self.distances(places, rays)
        hits = places[:, None] + distance[..., None] * np.stack([np.cos(rays), np.sin(rays)], -1)  # [M, 64, 2]
        around = met < PILLARS
        pillar = np.minimum(met, PILLARS - 1)
        from_centre = hits - self.centres[pillar]
        turn = np.arctan2(from_centre[..., 1], from_centre[..., 0])
        across = np.where(met < PILLARS + 2, hits[..., 1], hits[..., 0]) + SIDE / 2
        metres = np.where(around, (turn + np.pi) * self.radii[pillar], across)  # along the surface
        outward = np.where(around, turn, np.array([np.pi, 0, -np.pi / 2, np.pi / 2])[np.maximum(met - PILLARS, 0)])
        light = 0.75 + 0.35 * np.cos(outward - 0.6)  # [M, 64]
        column = (metres * TEXELS).astype(np.int64).clip(0, upright.shape[2] - 1)

        depth = distance * np.cos(angles)
        below = rows_below()[:, None]  # [36, 1], of the optical axis in units of the focal length
        level = EYE - below * depth[:, None]  # [M, 36, 64] metres above the floor, where the ray meets something
        row = ((WALL - level) * TEXELS).astype(np.int64).clip(0, upright.shape[1] - 1)
        picture = upright[met[:, None], row, column[:, None]] * light[:, None, :, None]
        reach = EYE / np.maximum(below, 1e-3) / np.cos(angles)  # [36, 64] metres to the floor
        on_floor = places[:, None, None] + reach[..., None] * np.stack([np.cos(rays), np.sin(rays)], -1)[:, None]
        texel = ((on_floor + SIDE / 2) * TEXELS).astype(np.int64).clip(0, len(floor) - 1)
        picture = np.where((level < 0)[..., None], floor[texel[..., 0], texel[..., 1]], picture)
        picture = np.where((level > WALL)[..., None], sky, picture)
        return np.round(picture).clip(0, 255).astype(np.uint8)

    def plan(self, size: int) -> NDArray[np.uint8]:
        """Draw the arena from above, ``[size, size, 3]`` uint8 RGB: x to the right, y up."""
        floor, upright, _ = self._textures
        canvas = cv2.resize(np.flipud(floor.transpose(1, 0, 2)), (size, size), interpolation=cv2.INTER_AREA)
        for number, (centre, radius) in enumerate(zip(self.centres, self.radii, strict=True)):
            colour = [float(value) for value in upright[number].mean((0, 1))]
            spot = tuple(int(value) for value in on_plan(centre, size))
            cv2.circle(canvas, spot, round(radius / SIDE * size), colour, -1, cv2.LINE_AA)
            cv2.circle(canvas, spot, round(radius / SIDE * size), (20, 20, 20), 1, cv2.LINE_AA)
        return np.round(canvas).clip(0, 255).astype(np.uint8)


def on_plan(places: Array, size: int) -> Array:
    """Return column and row on `Arena.plan` of ``[..., 2]`` places."""
    return (np.array([1.0, -1.0]) * places + SIDE / 2) / SIDE * size


def column_angles() -> Array:
    """Return the angle of each column of a picture from its middle, ``[64]`` radians to the left."""
    return np.arctan(((WIDTH - 1) / 2 - np.arange(WIDTH)) / focal())


def rows_below() -> Array:
    """Return how far each row is below the middle of a picture, ``[36]`` in units of the focal length."""
    return np.asarray((np.arange(HEIGHT) - (HEIGHT - 1) / 2) / focal(), np.float64)


def focal() -> float:
    """Return the focal length in pixels."""
    return float(WIDTH / 2 / np.tan(VIEW / 2))
