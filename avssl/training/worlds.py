"""Worlds that a run renders itself, by the names under which a config asks for them."""

from __future__ import annotations

from pathlib import Path

from avssl.catalog.index import build_index
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


def synthetic(world: AnyWorld) -> Path:
    """Render a built-in world; return its folder, or the index that groups its cameras."""
    folder = write_world(world)
    if world.views == 1:
        return folder
    index = folder / "videos.parquet"
    build_index(folder, index, group=GROUP, view=VIEW)
    return index
