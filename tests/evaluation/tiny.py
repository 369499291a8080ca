"""A labelled collection small enough for tests: a bright square moves right or down, one file a video."""

import hashlib

import av
import numpy as np

from avssl.catalog.manifest import Manifest
from avssl.catalog.table import row_from_info
from avssl.media import probe

CLASSES = ("down", "right")
MEAN, STD = [0.4, 0.4, 0.4], [0.25, 0.25, 0.25]


def write_video(path, direction, seed, frames=12, size=32):
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    top, left = rng.integers(0, 6, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for t in range(frames):
            picture = ground.copy()
            y, x = (top + 2 * t, left) if direction == "down" else (top, left + 2 * t)
            picture[y : y + 8, x : x + 8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def manifest_of(root):
    rows = []
    for path in sorted(root.rglob("*.avi")):
        rows.append(
            {
                **row_from_info(probe(path)),
                "root": str(root),
                "path": str(path.relative_to(root)),
                "label": path.parent.name,
                "content": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )
    return Manifest.from_rows(rows)


def write_world(root, groups=4):
    """``<class>/set1_seq<NN>_<class>.avi``, one video a class and group."""
    for number, name in enumerate(CLASSES):
        for group in range(1, groups + 1):
            write_video(root / name / f"set1_seq{group:02d}_{name}.avi", name, 10 * group + number)
    return manifest_of(root)


def listed(names, groups=None, contents=None):
    """A manifest of files that need not exist: ``names`` are ``class/file``."""
    return Manifest.from_rows(
        {
            "root": "/videos",
            "path": name,
            "status": "ok",
            "label": name.split("/")[0],
            "duration": 1.0,
            "group": None if groups is None else groups[i],
            "content": str(i) if contents is None else contents[i],
        }
        for i, name in enumerate(names)
    )
