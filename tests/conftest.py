"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from avssl.catalog.index import _index_of, build_index
from avssl.media import stores
from avssl.runtime import workers
from avssl.synthetic import GROUP, VIEW, ArenaWorld, FaceWorld, SphereWorld, World, write_world
from avssl.synthetic.writer import AnyWorld

FIRST = (  # files of the longest tests: whichever process ends first takes over short ones from the other
    *("docs/test_site.py", "cli/test_wheel.py", "applications/test_advise.py", "docs/test_notebooks.py"),
    *("cli/test_new_method.py",),
)

workers.PRELOADED += ["avssl.data.dataset", "avssl.catalog.copies", "avssl.avsync.builder"]  # of one process's tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, else in the order of files: what files share is made in one process."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


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


@pytest.fixture(scope="session")
def _together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of pytest-xdist share; what one of them makes there is made under a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _own_cache(_together: Path) -> Iterator[None]:
    """Indexes and rendered worlds go to a folder of this session, not into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(_together / "cache"))
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


def rendered(world: AnyWorld, root: Path, **annotation: str) -> Path:
    """Render a world in this process and index it where `open_manifest` looks, or beside it if it has annotations."""
    with FileLock(root.with_suffix(".lock")), ThreadPoolExecutor(1) as here:
        write_world(world, root, workers=1)
        index = root / "videos.parquet" if annotation else _index_of(root)
        if not index.exists():
            index.parent.mkdir(parents=True, exist_ok=True)
            build_index(root, index, executor=here, **annotation)
    return index if annotation else root


@pytest.fixture(scope="session")
def world(_together: Path) -> Path:
    """A little synthetic world: 24 videos of 3 s."""
    return rendered(World(videos=24, seconds=3.0, size=64), _together / "world")


@pytest.fixture(scope="session")
def views(_together: Path) -> Path:
    """The index of a little synthetic world that two cameras record: 16 scenes of 3 s."""
    return rendered(World(videos=16, seconds=3.0, size=64, views=2), _together / "views", group=GROUP, view=VIEW)


@pytest.fixture(scope="session")
def depths(_together: Path) -> Path:
    """A little synthetic world with depth maps: 16 videos of 2 s."""
    return rendered(World(videos=16, seconds=2.0, size=64, depth=True), _together / "depths")


@pytest.fixture(scope="session")
def spheres(_together: Path) -> Path:
    """A little world of panoramas with spatial sound: 16 videos of 2 s."""
    return rendered(SphereWorld(videos=16, seconds=2.0, height=32), _together / "spheres")


@pytest.fixture(scope="session")
def arenas(_together: Path) -> Path:
    """A little world of drives in arenas: 16 videos of 8 s."""
    return rendered(ArenaWorld(videos=16, seconds=8.0), _together / "arenas")


@pytest.fixture(scope="session")
def faces(_together: Path) -> Path:
    """A little world of talking faces: 16 videos of 1.4 s, half of them filmed by a phone."""
    return rendered(FaceWorld(videos=16, seconds=1.4, size=64, phone=0.5), _together / "faces")
