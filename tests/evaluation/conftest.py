import pytest
import tiny
import torch


@pytest.fixture(scope="session")
def collection(tmp_path_factory):
    """Eight tiny videos, two classes, four groups."""
    return tiny.write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
