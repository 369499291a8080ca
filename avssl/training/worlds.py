"""Worlds that a run renders itself, by the names under which a config asks for them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.synthetic import GROUP, VIEW, ArenaWorld, FaceWorld, SphereWorld, World, write_world
from avssl.synthetic.writer import AnyWorld

SYNTHETIC = "synthetic"
WORLDS: dict[str, AnyWorld] = {
    SYNTHETIC: World(videos=480),
    "synthetic_views": World(videos=240, views=2),
    "synthetic_depth": World(videos=120, depth=True),
    "synthetic_sphere": SphereWorld(),
    "synthetic_arena": ArenaWorld(),
    "synthetic_face": FaceWorld(),
    "synthetic_phone": FaceWorld(phone=1.0),
}


def built_in(root: str) -> AnyWorld | None:
    """Return the built-in world that a text names, ``NAME`` or ``NAME:VIDEOS``; None if it names none.

    Raises:
        ValueError: if the number of videos isn't one.
    """
    name, _, count = root.partition(":")
    if name not in WORLDS:
        return None
    if root == name:
        return WORLDS[name]
    if not re.fullmatch("[1-9][0-9]*", count):
        raise ValueError(f"data.root is {root!r}: expected a number of videos after {name}:, such as {name}:1000")
    return dataclasses.replace(WORLDS[name], videos=int(count))


def open_root(root: str) -> Manifest:
    """Open a collection: a folder, a manifest, or a built-in world, which is rendered on first use."""
    world = built_in(root)
    return open_manifest(Path(root) if world is None else _rendered(world))


def _rendered(world: AnyWorld) -> Path:
    """Render a world; return its folder, or the index that groups its cameras."""
    folder = write_world(world)
    if world.views == 1:
        return folder
    index = folder / "videos.parquet"
    build_index(folder, index, group=GROUP, view=VIEW)
    return index
