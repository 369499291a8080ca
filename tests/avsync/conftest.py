from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from avssl.avsync.executors import Execution

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from avssl.synthetic.clapper import write_clapper

LATE = (-0.4, -0.2, -0.04, 0.0, 0.04, 0.2, 0.4)


@pytest.fixture(scope="session")
def claps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings whose sound is late or early by what their name says in milliseconds."""
    folder = tmp_path_factory.mktemp("claps")
    for seed, late in enumerate(LATE):
        write_clapper(folder / f"late{1000 * late:+.0f}.mov", late, frames=150, codec="pcm_s16le", seed=seed)
    return folder


@pytest.fixture
def machine():
    """Threads of this process, which need not be started up."""
    with ThreadPoolExecutor(2) as executor:
        yield Execution(executor=executor)
