"""Built-in worlds are asked for by name, in any number of videos."""

from dataclasses import replace

import pytest

from avssl.synthetic import World, write_world
from avssl.synthetic.writer import default_folder
from avssl.training.worlds import WORLDS, built_in, open_root


@pytest.mark.parametrize("name", WORLDS)
def test_a_name_alone_or_with_a_number_is_a_world(name):
    assert built_in(name) == WORLDS[name]
    assert built_in(f"{name}:7") == replace(WORLDS[name], videos=7)


@pytest.mark.parametrize("root", ["videos", "s3://bucket/videos", "c:/videos", "synthetic/1"])
def test_what_names_no_world_is_none(root):
    assert built_in(root) is None


@pytest.mark.parametrize("root", ["synthetic:", "synthetic:0", "synthetic:-3", "synthetic:1e3", "synthetic:many"])
def test_a_number_that_is_none_is_an_error_that_says_so(root):
    with pytest.raises(ValueError, match=rf"{root}'.*synthetic:1000"):
        built_in(root)


def test_a_world_of_another_size_is_rendered_and_opened(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(WORLDS, "synthetic", World(seconds=1))
    assert len(open_root("synthetic:2")) == 2
    write_world(World(videos=3, seconds=1))
    first, second = (default_folder(World(videos=n, seconds=1)) / World().path(1) for n in (2, 3))
    assert first.read_bytes() == second.read_bytes()  # a larger world begins with the smaller one
