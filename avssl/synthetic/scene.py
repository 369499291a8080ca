"""One scene of a synthetic world: its frames and their ground truth at any time."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.actions import ACTIONS, Array, Pair, Path
from avssl.synthetic.camera import FOCAL, Camera, EgoMotion
from avssl.synthetic.looks import Image, cut_out, surface
from avssl.synthetic.odd import Oddity, heard, make_odd
from avssl.synthetic.sound import Voice, soundtrack
from avssl.synthetic.world import CLASSES, World

WALL = 8.5  # metres from the centre of the cameras' drift to the back wall
PROPS = 3
ACTORS = 2
_LOOKS, _STAGE, _ACT, _VOICES, _NOISE = range(5)  # purposes of random numbers shared by all cameras
_CAMERA, _DYE, _ODD = 10, 20, 30  # purposes of each camera's own random numbers


class Standing(NamedTuple):
    """The path of an object at rest: ``[4]`` position and rotation."""

    place: Array

    def __call__(self, t: Array) -> Array:
        """See `Path`."""
        return np.broadcast_to(self.place, (*np.shape(t), 4))


class Scene:
    """One scene as seen by one camera, computed from (world, index, view) alone; no file is read.

    Surfaces are numbered 0 wall, 1 floor, 2 to 4 objects at rest, 5 and 6 the two acting objects.

    Attributes:
        world: the settings.
        index: number of the scene.
        view: number of the camera.
        label: class number.
        impacts: ``[E]`` float64 times of impacts in seconds, ascending.
        loudness: ``[E]`` float64 peak level of each impact's sound, 0 to 1.
        struck: ``[E]`` int64, 0 or 1: the object that is struck.
        odd: the odd act, or None.

    Raises:
        IndexError: if the world has no such scene or view.
    """

    def __init__(self, world: World, index: int, view: int = 0) -> None:
        if not (0 <= index < world.videos and 0 <= view < world.views):
            raise IndexError(f"scene {index}, view {view}: the world has {world.videos} scenes in {world.views} views")
        self.world, self.index, self.view = world, index, view
        self.label = world.label(index)
        self._camera = Camera.draw(world.rng(index, _CAMERA + view), view, world.size)
        stage = world.rng(index, _STAGE)
        radii = stage.uniform(0.45, 0.72, ACTORS)
        turns = stage.uniform(0, 2 * np.pi, ACTORS)
        pair = Pair.draw(stage, near=float(radii.sum()) * 1.02)
        acts = ACTIONS[CLASSES[self.label]](world.rng(index, _ACT), pair, turns, world.seconds)

        chance = world.rng(index, _ODD)
        self.odd: Oddity | None = None
        if world.odd and chance.random() < world.odd:
            acts, self.odd = make_odd(chance, CLASSES[self.label], acts, world.seconds)

        props = stage.uniform([-3.4, 6.4, 0.3], [3.4, 8.2, 0.7], (PROPS, 3))
        standing = [Standing(np.array([x, 0, z, stage.uniform(0, 2 * np.pi)])) for x, z, _ in props]
        self._paths: list[Path] = [*standing, *(act.path for act in acts)]
        self._radii = [*props[:, 2], *radii]

        shown = [(act.impacts.times >= 0) & (act.impacts.times < world.seconds) for act in acts]
        times = np.concatenate([act.impacts.times[s] for act, s in zip(acts, shown, strict=True)])
        speeds = np.concatenate([act.impacts.speeds[s] for act, s in zip(acts, shown, strict=True)])
        order = np.argsort(times, kind="stable")
        self.impacts = times[order]
        self.loudness = np.clip(0.16 * speeds[order], 0.05, 0.6)
        self.struck = np.repeat(np.arange(ACTORS), [int(s.sum()) for s in shown])[order]

    @cached_property
    def _densities(self) -> list[float]:
        """Texels per metre of each surface; more for surfaces that come closer."""
        focal = FOCAL * self.world.size
        return [focal / WALL, 1.5 * focal / WALL, *[1.2 * focal / 6.4] * PROPS, *[1.2 * focal / 3.6] * ACTORS]

    @cached_property
    def _textures(self) -> list[Image]:
        """Each surface's texture: ``[h, w, 4]`` premultiplied RGBA."""
        looks = self.world.rng(self.index, _LOOKS)
        wall, floor, *densities = self._densities
        return [
            surface(looks, int(8 * wall), int(22 * wall), 2.5),
            _far_blurred(surface(looks, int(8 * floor), int(18 * floor), 3.0)),
            *(
                cut_out(looks, max(int(2 * radius * density), 8), vivid=number >= PROPS)
                for number, (radius, density) in enumerate(zip(self._radii, densities, strict=True))
            ),
        ]

    @cached_property
    def _texels(self) -> Array:
        """``[surfaces, 3, 3]`` from texels of each texture to metres from its centre."""
        scales = []
        for texture, density in zip(self._textures, self._densities, strict=True):
            height, width = texture.shape[:2]
            scales.append(np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, density]]) / density)
        return np.stack(scales)

    @cached_property
    def _gain(self) -> Image:
        """``[3]`` gains of the camera for red, green and blue; 1 for the first camera."""
        dye = self.world.rng(self.index, _DYE + self.view)
        return dye.uniform(0.75, 1.0, 3).astype(np.float32) if self.view else np.ones(3, np.float32)

    # Geometry ---------------------------------------------------------------------------------------------------

    def _planes(self, t: float) -> list[tuple[int, Image, Array]]:
        """Return the surfaces at t from farthest to nearest: number, texture and homography from texels."""
        places = np.stack([path(np.asarray(t, np.float64)) for path in self._paths])  # [PROPS + ACTORS, 4]
        cos, sin, flat = np.cos(places[:, 3]), np.sin(places[:, 3]), np.zeros(len(places))
        middles = places[:, :3] - np.array(self._radii)[:, None] * [0, 1, 0]
        frames = np.zeros((2 + len(places), 4, 3))  # columns: across, down, and the centre as a homogeneous point
        frames[0] = np.array([(1, 0, 0), (0, 1, -3.0), (0, 0, WALL), (0, 0, 1)])
        frames[1] = np.array([(1, 0, 0), (0, 0, 0), (0, 1, WALL - 4.0), (0, 0, 1)])
        frames[2:, :3, 0] = np.stack([cos, sin, flat], axis=-1)
        frames[2:, :3, 1] = np.stack([-sin, cos, flat], axis=-1)
        frames[2:, :3, 2], frames[2:, 3, 2] = middles, 1
        planes = self._camera.projection(t) @ frames @ self._texels
        order = [0, 1, *(2 + np.argsort(-places[:, 2], kind="stable"))]
        return [(int(i), self._textures[i], planes[i]) for i in order]

    def _window(self, texture: Image, plane: Array) -> tuple[slice, slice]:
        """Return the rows and columns of the frame that a surface may cover."""
        height, width = texture.shape[:2]
        corners = plane @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
        size = self.world.size
        if corners[2].min() < 0.1:  # reaches behind the camera
            return slice(0, size), slice(0, size)
        x, y = (corners[:2] / corners[2]).tolist()
        rows, columns = ((max(int(min(v)), 0), min(int(max(v)) + 2, size)) for v in (y, x))
        return slice(*rows), slice(*columns)

    def _seen(self, t: float) -> tuple[NDArray[np.int64], dict[int, Array]]:
        """Return the number of the surface at each pixel ``[H, W]``, and each surface's homography from texels."""
        size = self.world.size
        numbers = np.zeros((size, size), np.int64)
        homographies = {}
        for number, texture, plane in self._planes(t):
            alpha = np.ascontiguousarray(texture[..., 3])
            numbers[cv2.warpPerspective(alpha, plane, (size, size), flags=cv2.INTER_LINEAR) > 0.5] = number
            homographies[number] = plane
        return numbers, homographies

    # Images and their ground truth --------------------------------------------------------------------------------

    def frame(self, t: float) -> NDArray[np.uint8]:
        """Render the image at t seconds: ``[H, W, 3]`` uint8 RGB. Frame k of the file is the image at ``k / fps``."""
        size = self.world.size
        canvas = np.zeros((size, size, 3), np.float32)
        for number, texture, plane in self._planes(t):
            rows, columns = self._window(texture, plane)
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            moved = np.array([[1, 0, -columns.start], [0, 1, -rows.start], [0, 0, 1]], np.float64) @ plane
            extent = (columns.stop - columns.start, rows.stop - rows.start)
            layer = cv2.warpPerspective(texture, moved, extent, flags=cv2.INTER_LINEAR)
            under = canvas[rows, columns]
            if number:
                under *= 1 - layer[..., 3:]
                under += layer[..., :3]
            else:
                under[:] = layer[..., :3]
        return np.round(canvas * self._gain).astype(np.uint8)

    def surfaces(self, t: float) -> NDArray[np.int64]:
        """Return the number of the surface at each pixel at t seconds, ``[H, W]``; see the class for the numbers."""
        return self._seen(t)[0]

    def masks(self, t: float) -> NDArray[np.bool_]:
        """Return the visible parts of the acting objects at t seconds: ``[2, H, W]``."""
        return np.arange(2 + PROPS, 2 + PROPS + ACTORS)[:, None, None] == self._seen(t)[0]

    def depth(self, t: float) -> NDArray[np.float32]:
        """Return the depth of each pixel along the camera's axis at t seconds, in metres: ``[H, W]``."""
        numbers, homographies = self._seen(t)
        depth = np.zeros(numbers.shape, np.float32)
        for number, plane in homographies.items():
            here = np.nonzero(numbers == number)
            depth[here] = 1 / (np.linalg.inv(plane) @ _pixels(here))[2]
        return depth

    def flow(self, t0: float, t1: float) -> NDArray[np.float32]:
        """Return the optical flow from t0 to t1 (seconds), of camera and objects together: ``[2, H, W]``.

        It is in pixels to the right and down, also for points hidden or outside the image at t1.
        """
        numbers, homographies = self._seen(t0)
        later = {number: plane for number, _, plane in self._planes(t1)}
        flow = np.zeros((2, *numbers.shape), np.float32)
        for number, plane in homographies.items():
            here = np.nonzero(numbers == number)
            pixels = _pixels(here)
            moved = later[number] @ np.linalg.inv(plane) @ pixels
            flow[:, here[0], here[1]] = moved[:2] / moved[2] - pixels[:2]
        return flow

    def visible(self, t0: float, t1: float) -> NDArray[np.bool_]:
        """Return ``[H, W]``: True where the point shown at t0 is in the image and not hidden at t1 (seconds)."""
        numbers, later = self._seen(t0)[0], self._seen(t1)[0].astype(np.float32)
        rows, columns = np.indices(numbers.shape, dtype=np.float32)
        across, down = self.flow(t0, t1)
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": -1}
        return cv2.remap(later, columns + across, rows + down, cv2.INTER_NEAREST, **border) == numbers

    def intrinsics(self, t: float) -> Array:
        """Return ``[3, 3]`` from camera axes (x right, y down, z ahead) to pixels at t; pixel centres are integers."""
        return self._camera.intrinsics(t)

    def ego_motion(self, t0: float, t1: float) -> EgoMotion:
        """Return the camera's motion from t0 to t1 (seconds)."""
        return self._camera.ego_motion(t0, t1)

    # Positions and sound ------------------------------------------------------------------------------------------

    def places(self, times: Array) -> Array:
        """Return X, Y, Z (metres) and rotation (radians) of both acting objects at ``[T]`` seconds: ``[2, T, 4]``."""
        return np.stack([path(np.asarray(times, np.float64)) for path in self._paths[PROPS:]])

    def circles(self, t: float) -> Array:
        """Return x, y and radius ``[2, 3]`` in pixels of circles around the acting objects at t, visible or not."""
        places, radii = self.places(np.array([t]))[:, 0, :3], np.array(self._radii[PROPS:])
        middles = np.column_stack([places - radii[:, None] * [0, 1, 0], np.ones(ACTORS)])
        x, y, depth = self._camera.projection(t) @ middles.T
        return np.stack([x, y, radii * self._camera.intrinsics(t)[0, 0]], axis=-1) / depth[:, None]

    def sound(self) -> NDArray[np.float32]:
        """Render the sound: ``[round(seconds * rate)]`` float32 in [-1, 1]; sample n is at ``n / rate`` seconds."""
        rate, timbre = self.world.rate, self.world.rng(self.index, _VOICES)
        voices = [Voice.draw(timbre, float(radius)) for radius in self._radii[PROPS:]]
        times = np.arange(round(self.world.seconds * rate)) / rate
        ticks = np.arange(-1, round(self.world.seconds * 100) + 2) / 100
        places = self.places(ticks)
        slip = np.abs(np.gradient(places, 0.01, axis=1)) * np.array([1, 0, 1, 0.3])  # vertical motion makes no sound
        speeds = [np.interp(times, ticks, s) for s in slip.sum(-1)]
        sounding = heard(self.odd, self.impacts)
        audible = sounding < self.world.seconds
        mine = [audible & (self.struck == k) for k in range(ACTORS)]
        blows = [(sounding[m], self.loudness[m]) for m in mine]
        return soundtrack(self.world.rng(self.index, _NOISE), voices, blows, speeds, rate)


def _pixels(here: tuple[NDArray[np.int64], ...]) -> Array:
    """Return (rows, columns) as homogeneous (x, y, 1), ``[3, P]``."""
    return np.stack([here[1], here[0], np.ones_like(here[0])]).astype(np.float64)


def _far_blurred(floor: Image) -> Image:
    """Blur a floor lengthwise, more with distance, so that it doesn't flicker at low viewing angles."""
    soft = cv2.GaussianBlur(floor, (1, 0), sigmaX=0.1, sigmaY=4.0)
    share = np.linspace(0, 1, len(floor), dtype=np.float32)[:, None, None]
    return floor + share * (soft - floor)
