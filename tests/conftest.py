"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from avssl.catalog.index import build_index
from avssl.media import stores
from avssl.synthetic import GROUP, VIEW, World, write_world


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("AVSSL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}: set AVSSL_TEST_DATA to their folder")
    return root


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """The tests take every core by processes; threads for small tensors would wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Indexes and rendered worlds go to a folder of this session, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No store is known but those that the test names, and caches and settings lie in its folder."""
    monkeypatch.setattr(stores, "_current", [])
    monkeypatch.delenv(stores.ENVIRONMENT, raising=False)
    for name in ("CONFIG", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    yield
    os.environ.pop(stores.ENVIRONMENT, None)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little synthetic world: 24 videos of 3 s."""
    return write_world(World(videos=24, seconds=3.0, size=64), tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a little synthetic world that two cameras record: 16 scenes of 3 s."""
    root = write_world(World(videos=16, seconds=3.0, size=64, views=2), tmp_path_factory.mktemp("views"))
    build_index(root, root / "videos.parquet", group=GROUP, view=VIEW)
    return root / "videos.parquet"


@pytest.fixture(scope="session")
def depths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little synthetic world with depth maps: 16 videos of 2 s."""
    return write_world(World(videos=16, seconds=2.0, size=64, depth=True), tmp_path_factory.mktemp("depths"))
