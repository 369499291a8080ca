"""The Python on README and on the page about parts runs as it stands."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    """A working folder with the files that the pages name."""
    shutil.copytree(world, tmp_path / "VIDEOS")
    shutil.copy(sorted(world.glob("*/*.mp4"))[0], tmp_path / "film.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str, page: str, names: dict) -> None:
    exec(compile(code, page, "exec"), names)


def test_parts_run_in_order(folder):
    found = blocks("docs/parts.md")
    assert len(found) == 6
    names = {"__name__": "parts"}
    for number, code in enumerate(found, start=1):
        run(code, f"docs/parts.md, block {number}", names)
    assert names["frames"].shape == (16, 3, 112, 112)
    assert (folder / "my_encoder" / "encoder.safetensors").is_file()
    assert names["model"][0].num_features == names["model"][1].in_features
    assert names["method"].sampler is names["dataset"].sampler


def test_readme_runs_with_fewer_steps(folder):
    (code,) = blocks("README.md")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    shorter = {'"max_steps": 500': '"max_steps": 2', "R3D(width=16)": "R3D(width=8)", "size=64": "size=32"}
    for long, short in (shorter | {"batch_size=16": "batch_size=4"}).items():
        assert long in code
        code = code.replace(long, short)
    names = {"__name__": "readme"}
    run(code, "README.md", names)
    assert names["features"].shape == (1, names["encoder"].num_features)


def test_readme_begins_with_the_commands_of_the_first_lesson():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 90
    install, test = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:2]
    assert install == "python -m pip install -e .\npython tools/train.py configs/shuffle_learn.yaml\n"
    assert test == "python -m pip install -e '.[dev]'\npython -m pytest -n 2\n"
