"""A linear model of faces: about 80 points joined to triangles, which identities and expressions displace.

Units are the distance of the mean face's eyes. Axes: x right in the picture, y down, z towards the camera; the origin
is between the eyes, at the head's axis of rotation.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

IDENTITY = ("width", "height", "jaw", "eye_distance", "eye_size", "nose", "mouth_width", "brow_height")
EXPRESSION = ("open", "smile", "pucker", "raise", "frown", "blink")
POSE = ("yaw", "pitch", "roll", "scale", "x", "y")
LANDMARKS = (
    *("right_eye_outer", "right_eye_inner", "left_eye_inner", "left_eye_outer", "right_brow", "left_brow"),
    *("nose_tip", "nose_base", "mouth_right", "mouth_left", "lip_upper", "chin"),
)  # right and left are the person's: right is on the left of the picture
PARTS = ("background", "forehead", "right_eye", "left_eye", "nose", "right_cheek", "left_cheek", "mouth", "chin")
LEFT = 0.5  # x of the left eye's middle

# Points in the plane of the mean face: on the axis, and those of the left half, each of which has a mirror image.
AXIS: dict[str, tuple[float, float]] = {
    **{"forehead_top": (0, -0.95), "forehead": (0, -0.62), "glabella": (0, -0.3), "nose_root": (0, 0.0)},
    **{"nose_bridge": (0, 0.3), "nose_tip": (0, 0.58), "nose_base": (0, 0.74), "lip_upper": (0, 0.96)},
    **{"inner_upper": (0, 1.07), "inner_lower": (0, 1.1), "lip_lower": (0, 1.25)},
    **{"chin_dent": (0, 1.46), "chin": (0, 1.75)},
}
HALF: dict[str, tuple[float, float]] = {
    **{"eye_inner": (0.27, 0.02), "lid_upper_in": (0.4, -0.09), "lid_upper_out": (0.58, -0.1)},
    **{"eye_outer": (0.74, 0.01), "lid_lower_out": (0.6, 0.09), "lid_lower_in": (0.42, 0.1)},
    **{"brow_in": (0.22, -0.24), "brow": (0.52, -0.33), "brow_out": (0.84, -0.24)},
    **{"brow_in_top": (0.22, -0.36), "brow_top": (0.52, -0.46), "brow_out_top": (0.85, -0.33)},
    **{"nose_side": (0.13, 0.3), "nose_wing": (0.22, 0.62), "nose_flank": (0.17, 0.48)},
    **{"mouth_corner": (0.43, 1.08), "lip_upper_side": (0.2, 0.97), "inner_upper_side": (0.2, 1.07)},
    **{"inner_lower_side": (0.2, 1.1), "lip_lower_side": (0.2, 1.22), "chin_dent_side": (0.3, 1.45)},
    **{"chin_side": (0.32, 1.69), "jaw": (0.6, 1.54), "jaw_corner": (0.83, 1.24), "cheek_rim": (0.98, 0.88)},
    **{"ear_low": (1.07, 0.48), "ear": (1.1, 0.08), "temple": (1.05, -0.34), "forehead_corner": (0.8, -0.74)},
    **{"forehead_top_side": (0.42, -0.91), "forehead_side": (0.48, -0.64), "cheek_eye": (0.38, 0.3)},
    **{"cheek_high": (0.7, 0.34), "cheek": (0.5, 0.62), "cheek_side": (0.78, 0.7), "cheek_low": (0.58, 0.95)},
    **{"mouth_side": (0.62, 1.24), "upper_lip_side": (0.3, 0.82)},
}
PART_POINTS: dict[str, tuple[tuple[float, float], ...]] = {  # a triangle is of the part whose point is the nearest
    "forehead": ((0, -0.75), (0.45, -0.75), (0.85, -0.55), (-0.45, -0.75), (-0.85, -0.55), (0, -0.5)),
    "left_eye": ((0.5, 0.0), (0.7, -0.15), (0.35, -0.2)),
    "right_eye": ((-0.5, 0.0), (-0.7, -0.15), (-0.35, -0.2)),
    "nose": ((0, 0.2), (0, 0.45), (0, 0.65), (0.12, 0.58), (-0.12, 0.58)),
    "left_cheek": ((0.6, 0.5), (0.85, 0.3), (0.75, 0.8)),
    "right_cheek": ((-0.6, 0.5), (-0.85, 0.3), (-0.75, 0.8)),
    "mouth": ((0, 1.08), (0.2, 1.08), (-0.2, 1.08), (0.36, 1.08), (-0.36, 1.08)),
    "chin": ((0, 1.55), (0.35, 1.5), (-0.35, 1.5), (0.6, 1.35), (-0.6, 1.35)),
}


class FaceMesh(NamedTuple):
    """A mean face, and what identities and expressions add to it.

    Attributes:
        mean: ``[V, 3]`` points.
        identity: ``[8, V, 3]`` displacements of one standard deviation (`IDENTITY`).
        expression: ``[6, V, 3]`` displacements of a whole expression (`EXPRESSION`).
        triangles: ``[F, 3]`` numbers of points, clockwise in the picture of a face that looks at the camera.
        parts: ``[F]`` numbers of parts, from 1 on (`PARTS`).
        landmarks: ``[12]`` numbers of points (`LANDMARKS`).
        names: of the points; a mirrored one ends in ``.R``.
    """

    mean: Array
    identity: Array
    expression: Array
    triangles: Ints
    parts: Ints
    landmarks: Ints
    names: tuple[str, ...]

    def shape(self, identity: Array, expression: Array) -> Array:
        """Return points ``[T, V, 3]`` of faces, given ``[T, 8]`` and ``[T, 6]``."""
        changes = np.concatenate([self.identity, self.expression]).reshape(len(IDENTITY) + len(EXPRESSION), -1)
        added = np.concatenate([identity, expression], axis=1) @ changes
        return np.asarray(self.mean + added.reshape(len(added), -1, 3))


@cache
def face_mesh() -> FaceMesh:
    """Return the model; all callers share it."""
    places = [*AXIS.values(), *HALF.values(), *((-x, y) for x, y in HALF.values())]
    names = (*AXIS, *HALF, *(f"{name}.R" for name in HALF))
    flat = np.array(places, float)
    number = {name: place for place, name in enumerate(names)}
    triangles = _clockwise(flat, Delaunay(flat).simplices.astype(np.int64))
    x, y = flat.T
    mean = np.stack([x, y, _relief(x, y)], axis=1)
    seeds = [(part, point) for part in PARTS[1:] for point in PART_POINTS[part]]
    near = cKDTree([point for _, point in seeds]).query(flat[triangles].mean(1))[1]
    parts = np.array([PARTS.index(seeds[place][0]) for place in near])
    inside = _mouth_points(names)
    parts[inside[triangles].all(1)] = PARTS.index("mouth")
    marks = [number[_point(name)] for name in LANDMARKS]
    identity, expression = _identities(flat), _expressions(flat, number)
    return FaceMesh(mean, identity, expression, triangles, parts, np.array(marks), names)


def _point(landmark: str) -> str:
    """Return the name of the point that a landmark is."""
    side, _, rest = landmark.partition("_")
    if landmark.startswith("mouth_"):
        return "mouth_corner" + (".R" if landmark.endswith("right") else "")
    return rest + (".R" if side == "right" else "") if side in ("right", "left") else landmark


def _mouth_points(names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([name.startswith(("lip_", "inner_", "mouth_corner")) for name in names])


def _clockwise(flat: Array, triangles: Ints) -> Ints:
    """Order the corners ``[F, 3]`` of triangles clockwise in a picture whose y points down."""
    first, second, third = (flat[triangles[:, corner]] for corner in range(3))
    one, other = second - first, third - first
    turned = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return triangles


def _bump(x: Array, y: Array, middle: tuple[float, float], size: tuple[float, float]) -> Array:
    return np.asarray(np.exp(-(((x - middle[0]) / size[0]) ** 2) - ((y - middle[1]) / size[1]) ** 2))


def _relief(x: Array, y: Array) -> Array:
    """Return heights above the axis of rotation: a head, a nose, lips and a chin on it, and eyes in it."""
    head = 1.15 * np.sqrt(np.maximum(1 - (x / 1.22) ** 2 - ((y - 0.35) / 1.85) ** 2, 0.03))
    nose = 0.34 * _bump(x, y, (0, 0.6), (0.17, 0.2)) + 0.14 * _bump(x, y, (0, 0.3), (0.12, 0.3))
    rest = 0.06 * _bump(x, y, (0, 1.1), (0.4, 0.2)) + 0.1 * _bump(x, y, (0, 1.65), (0.35, 0.2))
    eyes = _bump(x, y, (LEFT, 0), (0.25, 0.15)) + _bump(x, y, (-LEFT, 0), (0.25, 0.15))
    return np.asarray(head + nose + rest - 0.07 * eyes)


def _identities(flat: Array) -> Array:
    """Return displacements ``[8, V, 3]`` of `IDENTITY`."""
    x, y = flat.T
    side, zero = np.sign(x), np.zeros(len(x))
    eyes = _bump(np.abs(x), y, (LEFT, -0.1), (0.45, 0.4))
    size = _bump(np.abs(x), y, (LEFT, 0), (0.3, 0.2))
    nose = _bump(x, y, (0, 0.6), (0.35, 0.3))
    mouth = _bump(x, y, (0, 1.08), (0.6, 0.25))
    jaw = 1 / (1 + np.exp(-(y - 0.95) / 0.15))
    lower = 1 / (1 + np.exp(-(y - 0.5) / 0.15))
    brows = _bump(np.abs(x), y, (LEFT, -0.36), (0.5, 0.18))
    fields = [
        (0.09 * x, zero, zero),
        (zero, 0.1 * (y - 0.1), zero),
        (0.14 * x * jaw, 0.03 * jaw, zero),
        (0.06 * side * eyes, zero, zero),
        (0.3 * (x - side * LEFT) * size, 0.3 * y * size, zero),
        (0.25 * x * nose, 0.08 * nose, 0.1 * nose),
        (0.2 * x * mouth, zero, zero),
        (zero, -0.05 * brows - 0.02 * lower, zero),
    ]
    return np.stack([np.stack(field, axis=1) for field in fields])


def _expressions(flat: Array, number: dict[str, int]) -> Array:
    """Return displacements ``[6, V, 3]`` of `EXPRESSION`."""
    x, y = flat.T
    moves = np.zeros((len(EXPRESSION), *flat.shape[:1], 3))
    below = np.clip((y - 1.09) / 0.1, 0, 1) * np.clip(1.4 - np.abs(x), 0, 1)  # the jaw, without the upper lip
    corners = _bump(np.abs(x), y, (0.43, 1.08), (0.17, 0.2)) * np.sign(x)
    cheeks = _bump(np.abs(x), y, (0.55, 0.7), (0.3, 0.3))
    lips = _bump(x, y, (0, 1.08), (0.35, 0.2))
    brows = _bump(np.abs(x), y, (LEFT, -0.36), (0.5, 0.2))
    inner = _bump(np.abs(x), y, (0.22, -0.3), (0.25, 0.2))
    moves[0, :, 1] = 0.42 * below
    for name in ("inner_lower", "inner_lower_side"):
        for place in (number[name], number.get(f"{name}.R", number[name])):
            moves[0, place, 1] = 0.42 if name == "inner_lower" else 0.36
    for name in ("mouth_corner", "mouth_corner.R"):
        moves[0, number[name]] = [-0.06 * np.sign(x[number[name]]), 0.14, 0]
    moves[1] = np.stack([0.12 * corners, -0.13 * np.abs(corners) - 0.06 * cheeks, 0.04 * cheeks], axis=1)
    moves[2] = np.stack([-0.18 * corners, 0 * x, 0.1 * lips], axis=1)
    moves[3, :, 1] = -0.16 * brows
    moves[4] = np.stack([-0.06 * np.sign(x) * inner, 0.1 * inner, 0 * x], axis=1)
    for side in ("", ".R"):
        for where in ("in", "out"):
            upper, lower = number[f"lid_upper_{where}{side}"], number[f"lid_lower_{where}{side}"]
            moves[5, upper, :2] = 0.92 * (flat[lower] - flat[upper])
    return moves


def rotations(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Return matrices ``[T, 3, 3]``, of angles ``[T]`` in radians: a turn about y, then x, then z.

    A positive yaw turns the face to the right of the picture, a positive pitch down, and a positive roll clockwise.
    """
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)

    def matrix(*entries: Array) -> Array:
        return np.stack(entries, axis=-1).reshape(*yaw.shape, 3, 3)

    across = matrix(np.cos(yaw), zero, np.sin(yaw), zero, one, zero, -np.sin(yaw), zero, np.cos(yaw))
    up = matrix(one, zero, zero, zero, np.cos(pitch), np.sin(pitch), zero, -np.sin(pitch), np.cos(pitch))
    tilt = matrix(np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one)
    return np.asarray(tilt @ up @ across)


def projected(points: Array, pose: Array) -> Array:
    """Place faces ``[T, V, 3]`` by `POSE` ``[T, 6]``: ``[T, V, 3]``, x and y in -1 to 1 along the picture, and height.

    The projection is orthographic: ``scale`` is the distance of the mean face's eyes as a share of the picture, x and y
    are the place of the origin.
    """
    turned = points @ rotations(*pose[:, :3].T).transpose(0, 2, 1)
    turned = 2 * pose[:, 3, None, None] * turned
    turned[..., :2] += pose[:, None, 4:]
    return np.asarray(turned)
