"""Talking faces with known geometry: a deformable mesh of 156 triangles, in a studio or filmed by a phone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from avssl.synthetic.face_film import MARGIN, Film, Waves
from avssl.synthetic.face_looks import Person, Speech, texels, voice
from avssl.synthetic.face_mesh import EXPRESSION, IDENTITY, POSE, Array, face_mesh, projected, rotations
from avssl.synthetic.face_raster import inside, normals, triangles_of
from avssl.synthetic.looks import Image
from avssl.synthetic.settings import Settings

TRUTH = ".face.csv"  # suffix of the table beside each video
DOMAINS = ("studio", "phone")
FINE = 2  # pixels are averaged over so many times as many
_LOOKS, _BODY, _ACT, _VOICE, _CAMERA, _HAND, _FILM = range(7)  # purposes of random numbers


@dataclass(frozen=True)
class FaceWorld(Settings):
    """A collection of rendered talking faces. Equal settings give equal files.

    Files are ``studio/<id>.mp4`` and ``phone/<id>.mp4``; beside each is ``<id>.face.csv``, with one row a frame: the
    time, the code of the face and its pose (`FaceScene.table`). No person is in two videos.

    Attributes:
        videos: number of scenes.
        seconds: length of each video.
        fps: frames per second.
        size: height and width of the frames in pixels, even.
        rate: sampling rate of the sound, in Hz.
        phone: share of the scenes filmed by a phone: another light, a cluttered background, another exposure, noise.
        seed: another seed gives other scenes.

    Raises:
        ValueError: if a setting is out of range.
    """

    kind: ClassVar[str] = "face"
    views: ClassVar[int] = 1

    videos: int = 200
    seconds: float = 2.5
    fps: int = 25
    size: int = 96
    rate: int = 16000
    phone: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 32 or self.size % 2:
            raise ValueError(f"FaceWorld.size: expected an even number of pixels from 32 up (yuv420p), got {self.size}")
        if not 0 <= self.phone <= 1:
            raise ValueError(f"FaceWorld.phone: expected a share from 0 to 1, got {self.phone}")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.size, self.size

    def domain(self, index: int) -> int:
        """Return 0 for a scene in the studio, 1 for one filmed by a phone."""
        return int((index + 1) * self.phone + 1e-9) - int(index * self.phone + 1e-9)

    def path(self, index: int, view: int = 0) -> str:
        """Return a scene's path within the world's folder."""
        return f"{DOMAINS[self.domain(index)]}/{index:05d}.mp4"

    def rng(self, index: int, purpose: int) -> np.random.Generator:
        """Return a generator for one scene and one purpose, independent of all others and of the other domain's."""
        return np.random.default_rng([self.seed, index, purpose, 170 + self.domain(index)])


class FaceScene:
    """One person who talks and turns the head, computed from (world, index) alone; no file is read.

    Pixel centres have integer coordinates.

    Attributes:
        world: the settings.
        index: number of the scene.
        phone: whether it is filmed by a phone.
        identity: ``[8]`` standard normal, what of each of `IDENTITY` the person has.

    Raises:
        IndexError: if the world has no such scene.
    """

    def __init__(self, world: FaceWorld, index: int, view: int = 0) -> None:
        if not (0 <= index < world.videos and view == 0):
            raise IndexError(f"scene {index}, view {view}: the world has {world.videos} scenes in one view")
        self.world, self.index = world, index
        self.phone = world.domain(index) == DOMAINS.index("phone")
        body = world.rng(index, _BODY)
        self.identity = np.clip(body.standard_normal(len(IDENTITY)), -2.2, 2.2)
        self._middle = body.uniform([-0.16, -0.3], [0.16, -0.05])
        self._scale = float(body.uniform(0.2, 0.27))
        act = world.rng(index, _ACT)
        self._speech = Speech.draw(act, world.seconds)
        self._moods = Waves.draw(act, [-0.3] * 4, [0.9] * 4, [0.8] * 4)  # the expressions between mouth and blinking
        self._blinks = np.cumsum(act.uniform(0.7, 2.5, 2 + int(world.seconds)))
        scale, aim = self._scale, self._middle
        self._moves = Waves.draw(
            world.rng(index, _CAMERA),
            [-0.6, -0.3, -0.25, 0.94 * scale, aim[0] - 0.1, aim[1] - 0.1],
            [0.6, 0.3, 0.25, 1.06 * scale, aim[0] + 0.1, aim[1] + 0.1],
            [0.7, 0.7, 0.7, 0.5, 0.5, 0.5],
        )

    def code(self, times: Array) -> Array:
        """Return the face at ``[T]`` seconds: ``[T, 14]``, `IDENTITY` and `EXPRESSION`."""
        shut = np.exp(-(((times[:, None] - self._blinks) / 0.07) ** 4)).max(1)
        moving = self._speech.opening(times)[:, None], self._moods(times).clip(0), shut[:, None]
        return np.concatenate([np.broadcast_to(self.identity, (len(times), len(IDENTITY))), *moving], axis=1)

    def pose(self, times: Array) -> Array:
        """Return the head's `POSE` at ``[T]`` seconds: ``[T, 6]``; see `projected`."""
        pose = self._moves(times)
        pose[:, 4:] += self._shake(times)
        return pose

    def points(self, times: Array) -> Array:
        """Return the mesh's points at ``[T]`` seconds: ``[T, V, 3]``, pixels to the right and down, and height."""
        code, size = self.code(times), self.world.size
        shape = face_mesh().shape(code[:, : len(IDENTITY)], code[:, len(IDENTITY) :])
        placed = projected(shape, self.pose(times))
        placed[..., :2] = (placed[..., :2] + 1) * size / 2 - 0.5
        placed[..., 2] *= size / 2
        return placed

    def landmarks(self, times: Array) -> Array:
        """Return the `LANDMARKS` at ``[T]`` seconds: ``[T, 12, 2]`` pixels, whether visible or not."""
        return self.points(times)[:, face_mesh().landmarks, :2]

    def table(self) -> str:
        """Return the table that is written beside the video: a row for each frame, its time, code and pose."""
        times = np.arange(self.world.num_frames) / self.world.fps
        rows = np.concatenate([times[:, None], self.code(times), self.pose(times)], axis=1)
        lines = [("time", *IDENTITY, *EXPRESSION, *POSE), *([f"{value:.6f}" for value in row] for row in rows)]
        return "".join(",".join(line) + "\n" for line in lines)

    # Pictures -----------------------------------------------------------------------------------------------------

    @cached_property
    def _person(self) -> Person:
        return Person.draw(self.world.rng(self.index, _LOOKS))

    @cached_property
    def _filmed(self) -> Film:
        return Film.draw(self.world.rng(self.index, _FILM), self.world.size, self.phone)

    @cached_property
    def _shake(self) -> Waves:
        """By how much the phone's shaking moves the picture, of its half width to the right and down."""
        most = 2 * self._filmed.shake
        return Waves.draw(self.world.rng(self.index, _HAND), [-most] * 2, [most] * 2, [3.0] * 2)

    def parts(self, t: float) -> NDArray[np.int64]:
        """Return which of `PARTS` each pixel shows at t seconds: ``[H, W]``, 0 where there is no face."""
        shown = triangles_of(self.points(np.array([t]))[0], self.world.shape)
        return np.where(shown < 0, 0, face_mesh().parts[shown])

    def frame(self, t: float) -> NDArray[np.uint8]:
        """Render the frame at t seconds: ``[H, W, 3]`` uint8 RGB. Frame k of the file is that at ``k / fps``."""
        film, size, times = self._filmed, self.world.size, np.array([t])
        fine = (self.points(times)[0] + [0.5, 0.5, 0]) * FINE - [0.5, 0.5, 0]
        across, down = (MARGIN - self._shake(times)[0] / 2) * size  # of the frame's corner in the wall
        moved = np.array([[1, 0, -across], [0, 1, -down]])
        canvas = cv2.warpAffine(film.wall, moved, (size, size), borderMode=cv2.BORDER_REPLICATE)
        canvas = cv2.resize(canvas, (size * FINE, size * FINE), interpolation=cv2.INTER_LINEAR)
        pose = self.pose(times)[0]
        lit = film.ambient + film.diffuse * max(film.light[2], 0.0)
        self._draw_body(canvas, pose, lit)
        self._draw_face(canvas, fine)
        picture = np.asarray(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA))
        if film.blur > 0.05:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), film.blur))
        picture = 255 * (np.clip(picture * film.gains / 255, 0, 1) ** film.gamma)
        grain = np.random.default_rng([self.world.seed, self.index, round(t * 1e4), int(self.phone)])
        return np.round(picture + film.noise * grain.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8)

    def _draw_body(self, canvas: Image, pose: Array, lit: float) -> None:
        """Draw clothes, neck and hair behind the face."""
        side = len(canvas)
        turned = rotations(*pose[None, :3].T)[0]

        def place(x: float, y: float, z: float) -> tuple[int, int]:
            at = 2 * pose[3] * (turned @ [x, y, z])[:2] + pose[4:]
            return int((at[0] + 1) * side / 2), int((at[1] + 1) * side / 2)

        unit, person = pose[3] * side, self._person
        chest = int((self._middle[0] + 1) * side / 2), int((self._middle[1] + 1) * side / 2 + 3.3 * unit)
        cv2.ellipse(canvas, chest, (int(2.3 * unit), int(1.2 * unit)), 0, 0, 360, (lit * person.clothes).tolist(), -1)
        neck = np.array([place(-0.55, 1.0, 0), place(0.55, 1.0, 0), (chest[0], chest[1] - int(0.5 * unit))])
        wide = [neck[0], neck[1], neck[2] + [int(0.6 * unit), 0], neck[2] - [int(0.6 * unit), 0]]
        cv2.fillPoly(canvas, [np.array(wide, np.int32)], (0.75 * lit * person.skin).tolist(), cv2.LINE_AA)
        tilt = float(np.degrees(pose[2]))
        axes = int(1.25 * unit), int(1.3 * unit)
        cv2.ellipse(canvas, place(0, -0.02, 0), axes, tilt, 0, 360, (lit * person.hair).tolist(), -1, cv2.LINE_AA)

    def _draw_face(self, canvas: Image, points: Array) -> None:
        """Draw the lit mesh over a canvas, given its points in the canvas's pixels."""
        mesh, film = face_mesh(), self._filmed
        shown = triangles_of(points, canvas.shape[:2])
        rows, columns = np.nonzero(shown >= 0)
        numbers = shown[rows, columns]
        corners = mesh.triangles[numbers]  # [P, 3]
        weights = inside(points[mesh.triangles], numbers, columns.astype(np.float32), rows.astype(np.float32))
        bright = film.ambient + film.diffuse * np.maximum(normals(points) @ film.light, 0)  # [V]
        known = np.concatenate([texels(mesh.mean[:, :2]), bright[:, None]], axis=1, dtype=np.float32)
        x, y, lit = np.einsum("pk,pkc->cp", weights, known[corners])[..., None]  # [P, 1]
        colours = cv2.remap(self._person.texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        canvas[rows, columns] = colours[:, 0] * lit

    def sound(self) -> NDArray[np.float32]:
        """Render the voice: ``[round(seconds * rate)]`` float32 in [-1, 1]."""
        times = np.arange(round(self.world.seconds * self.world.rate)) / self.world.rate
        return voice(self.world.rng(self.index, _VOICE), self._speech.opening(times), self.world.rate)
