"""A world seen and heard in all directions: equirectangular panoramas with first-order ambisonics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.looks import Image, cut_out, surface
from avssl.synthetic.settings import Settings
from avssl.synthetic.sound import ROOM, Voice, soundtrack

Array = NDArray[np.float64]

SOUNDING, MOVING, THINGS = 2, 3, 5  # the first ones sound when they move, the next moves in silence, the rest stands
TICKS = 100  # positions a second between which paths are interpolated
_LOOKS, _STAGE, _ACT, _VOICES, _NOISE = range(5)  # purposes of random numbers


@dataclass(frozen=True)
class SphereWorld(Settings):
    """A collection of rendered panoramas with spatial sound. Equal settings give equal files.

    Files are H.264 and FLAC in Matroska, ``panoramas/<id>.mkv``. FLAC, because AAC codes channels jointly and bends
    their phases.

    Attributes:
        videos: number of scenes.
        seconds: length of each video.
        fps: frames per second.
        height: of the frames in pixels, even; they are twice as wide.
        rate: sampling rate of the sound, in Hz.
        seed: another seed gives other scenes.

    Raises:
        ValueError: if a setting is out of range.
    """

    kind: ClassVar[str] = "sphere"
    views: ClassVar[int] = 1
    channels: ClassVar[int] = 4
    container: ClassVar[str] = "matroska"

    videos: int = 360
    seconds: float = 4.0
    fps: int = 10
    height: int = 64
    rate: int = 16000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.height < 32 or self.height % 2:
            raise ValueError(f"SphereWorld.height: expected an even number of pixels from 32 up, got {self.height}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.height, 2 * self.height

    def path(self, index: int, view: int = 0) -> str:
        """Return a scene's path within the world's folder."""
        return f"panoramas/{index:05d}.mkv"

    def rng(self, index: int, purpose: int) -> np.random.Generator:
        """Return a generator for one scene and one purpose, independent of all others."""
        return np.random.default_rng([self.seed, index, purpose, 360])


class Route(NamedTuple):
    """How a thing moves: its azimuth and elevation at every tick, and the impacts that it makes."""

    azimuth: Array  # [ticks] radians to the left of the middle
    elevation: Array  # [ticks] radians above the horizon
    times: Array  # [E] seconds of impacts
    speeds: Array  # [E] radians per second before each


def _route(rng: np.random.Generator, azimuth: float, elevation: float, seconds: float, moves: bool) -> Route:
    """Draw a route about a place: rests, between which it hops or circles; see `Route`."""
    count = int((seconds + 0.5) * TICKS)
    places = np.tile([azimuth, elevation], (count, 1))
    times, speeds = [], []
    hops, tick, turn = bool(rng.integers(2)), int(rng.uniform(0, 0.6) * TICKS), rng.uniform(0, 2 * np.pi)
    here = np.array([azimuth, elevation])
    while moves and tick < count:
        if hops:
            for _ in range(rng.integers(2, 5)):
                goal = np.array([azimuth, elevation]) + rng.uniform(-1, 1, 2) * [0.45, 0.25]
                steps = int(rng.uniform(0.22, 0.4) * TICKS)
                done = np.linspace(0, 1, steps + 1)[1:, None] ** 2
                places[tick : tick + steps] = (here + done * (goal - here))[: max(count - tick, 0)]
                places[tick + steps :] = goal
                times.append((tick + steps) / TICKS)
                speeds.append(2 * float(np.linalg.norm(goal - here)) * TICKS / steps)
                here, tick = goal, tick + steps
        else:
            steps = int(rng.uniform(0.6, 1.4) * TICKS)
            angles = turn + np.arange(1, steps + 1) * rng.choice([-1, 1]) * 2 * np.pi * rng.uniform(1.0, 1.6) / TICKS
            round_ = 0.2 * np.stack([np.cos(angles) - np.cos(turn), np.sin(angles) - np.sin(turn)], 1)
            places[tick : tick + steps] = (here + round_)[: max(count - tick, 0)]
            places[tick + steps :] = here + round_[-1]
            here, turn, tick = here + round_[-1], float(angles[-1]), tick + steps
        tick += int(rng.uniform(0.2, 0.8) * TICKS)
    return Route(places[:, 0], places[:, 1], np.array(times), np.array(speeds))


class SphereScene:
    """One scene around a camera and microphones in its middle, computed from (world, index) alone.

    A wall surrounds five things. Two vivid ones sound when they move: they ring where a hop ends, and hiss as they
    slide. A dull one moves as they do, in silence; two vivid ones stand still. So neither motion nor looks alone tell
    where the sound comes from.

    Azimuths count from the middle of the picture to the left, elevations from the horizon up. The channels are W, Y, Z
    and X, in this order (ACN) and without gain over W (SN3D).

    Raises:
        IndexError: if the world has no such scene.
    """

    def __init__(self, world: SphereWorld, index: int, view: int = 0) -> None:
        if not (0 <= index < world.videos and view == 0):
            raise IndexError(f"scene {index}, view {view}: the world has {world.videos} scenes in one view")
        self.world, self.index = world, index
        stage, act = world.rng(index, _STAGE), world.rng(index, _ACT)
        azimuths = stage.uniform(0, 2 * np.pi) + 2 * np.pi / THINGS * (
            stage.permutation(THINGS) + stage.uniform(-0.15, 0.15, THINGS)
        )
        elevations = stage.uniform(-0.5, 0.5, THINGS)
        self.radii = stage.uniform(0.5, 0.9, THINGS)  # metres
        self.distances = stage.uniform(1.5, 3.0, THINGS)  # metres
        places = zip(azimuths, elevations, strict=True)
        self._routes = [_route(act, *place, world.seconds, number < MOVING) for number, place in enumerate(places)]

    def places(self, times: Array) -> Array:
        """Return the azimuth and elevation of all things in radians at ``[T]`` seconds: ``[5, T, 2]``."""
        ticks = np.arange(len(self._routes[0].azimuth)) / TICKS
        return np.stack(
            [
                np.stack([np.interp(times, ticks, route.azimuth), np.interp(times, ticks, route.elevation)], axis=-1)
                for route in self._routes
            ]
        )

    def directions(self, times: Array) -> Array:
        """Return unit vectors ``[5, T, 3]`` to all things at ``[T]`` seconds: left, up and ahead (Y, Z, X)."""
        azimuth, elevation = np.moveaxis(self.places(times), -1, 0)
        flat = np.cos(elevation)
        return np.stack([np.sin(azimuth) * flat, np.sin(elevation), np.cos(azimuth) * flat], axis=-1)

    # Pictures -----------------------------------------------------------------------------------------------------

    @cached_property
    def _textures(self) -> tuple[Image, list[Image]]:
        looks = self.world.rng(self.index, _LOOKS)
        height, width = self.world.shape
        overlap = width // 4
        wall = surface(looks, height, width + overlap, 3.0)[..., :3]
        share = np.linspace(0, 1, overlap, dtype=np.float32)[:, None]
        wall[:, :overlap] = share * wall[:, :overlap] + (1 - share) * wall[:, width:]  # it closes behind the camera
        texels = [max(int(1.5 * r / d * width / np.pi), 12) for r, d in zip(self.radii, self.distances, strict=True)]
        return wall[:, :width], [cut_out(looks, t, vivid=number != SOUNDING) for number, t in enumerate(texels)]

    @cached_property
    def _rays(self) -> Image:
        """Unit vectors ``[3, H, W]`` of the pixels: left, up and ahead."""
        height, width = self.world.shape
        azimuth = np.pi - 2 * np.pi * (np.arange(width) + 0.5) / width
        elevation = (np.pi / 2 - np.pi * (np.arange(height) + 0.5) / height)[:, None]
        flat = np.cos(elevation)
        rays = [np.sin(azimuth) * flat, np.sin(elevation) + 0 * azimuth, np.cos(azimuth) * flat]
        return np.stack(rays).astype(np.float32)

    def _layers(self, t: float) -> list[tuple[int, Image]]:
        """Return each thing's number and its premultiplied RGBA ``[H, W, 4]`` at t, from the farthest."""
        layers = []
        places = self.places(np.array([t]))[:, 0]
        for number in np.argsort(-self.distances, kind="stable"):
            azimuth, elevation = places[number]
            sin, cos, up, flat = np.sin(azimuth), np.cos(azimuth), np.sin(elevation), np.cos(elevation)
            ahead = np.tensordot(np.array([sin * flat, up, cos * flat]), self._rays, 1)
            left = np.tensordot(np.array([cos, 0, -sin]), self._rays, 1)
            above = np.tensordot(np.array([-sin * up, flat, -cos * up]), self._rays, 1)
            texture = self._textures[1][number]
            half = (len(texture) - 1) / 2
            scale = self.distances[number] / self.radii[number] * (half - 1.5) / np.maximum(ahead, 0.05)
            x = np.where(ahead > 0.05, half - left * scale, -9).astype(np.float32)
            y = np.where(ahead > 0.05, half - above * scale, -9).astype(np.float32)
            border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": 0}
            layers.append((int(number), cv2.remap(texture, x, y, cv2.INTER_LINEAR, **border)))
        return layers

    def frame(self, t: float) -> NDArray[np.uint8]:
        """Render the panorama at t seconds: ``[H, W, 3]`` uint8 RGB. Frame k of the file is that at ``k / fps``."""
        canvas = self._textures[0].copy()
        for _, layer in self._layers(t):
            canvas *= 1 - layer[..., 3:]
            canvas += layer[..., :3]
        return np.round(canvas).clip(0, 255).astype(np.uint8)

    def masks(self, t: float) -> NDArray[np.bool_]:
        """Return the visible parts of all things at t seconds: ``[5, H, W]``."""
        seen = np.full(self.world.shape, -1)
        for number, layer in self._layers(t):
            seen[layer[..., 3] > 0.5] = number
        return np.arange(THINGS)[:, None, None] == seen

    # Sound --------------------------------------------------------------------------------------------------------

    @cached_property
    def dry(self) -> Array:
        """The sound of the two sounding things at the microphone, without direction: ``[2, S]``."""
        rate, timbre = self.world.rate, self.world.rng(self.index, _VOICES)
        times = np.arange(round(self.world.seconds * rate)) / rate
        sounds = []
        for number in range(SOUNDING):
            route = self._routes[number]
            voice = Voice.draw(timbre, float(self.radii[number]))
            ticks = np.arange(len(route.azimuth)) / TICKS
            speed = np.hypot(np.gradient(route.azimuth), np.gradient(route.elevation)) * TICKS
            heard = route.times < self.world.seconds
            blows = route.times[heard], np.clip(0.3 * route.speeds[heard], 0.05, 0.6)
            slides = 6 * np.interp(times, ticks, speed)
            noise = self.world.rng(self.index, _NOISE + number)
            sounds.append(soundtrack(noise, [voice], [blows], [slides], rate) / self.distances[number])
        return np.stack(sounds)

    def sound(self) -> NDArray[np.float32]:
        """Render the sound: ``[4, round(seconds * rate)]`` float32 in [-1, 1], W, Y, Z and X."""
        times = np.arange(self.dry.shape[1]) / self.world.rate
        ways = self.directions(times)[:SOUNDING]  # [2, S, 3]
        gains = np.concatenate([np.ones((*ways.shape[:2], 1)), ways], axis=-1)  # [2, S, 4]
        mix = np.einsum("ks,ksc->cs", self.dry, gains)
        room = self.world.rng(self.index, _NOISE + THINGS).standard_normal(mix.shape)
        mix += ROOM * room * np.array([1, *[3**-0.5] * 3])[:, None]  # from everywhere
        return (mix * min(1.0, 0.95 / np.abs(mix).max())).astype(np.float32)
