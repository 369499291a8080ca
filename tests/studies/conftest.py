"""The labelled collection of the tests of evaluation."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "evaluation"))


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    import tiny

    return tiny.write_world(tmp_path_factory.mktemp("labelled"), groups=4)
