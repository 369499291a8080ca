import pytest
import tiny


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    """Eight tiny videos, two classes, four groups."""
    return tiny.write_world(tmp_path_factory.mktemp("world"))
