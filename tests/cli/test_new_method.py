"""A method made from the template passes what tests/test_methods.py asks of every method."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avssl.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path):
    shutil.copytree(ROOT / "avssl", tmp_path / "avssl")  # compiled modules, too
    for folder in ("configs", "docs/methods", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("setup.cfg", "tests/conftest.py", "tests/test_methods.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_the_skeleton_is_a_method(clone, world):
    assert main(["new-method", "my_task", f"--root={clone}"]) == 0
    assert sorted(path.name for path in clone.rglob("my_task.*")) == ["my_task.md", "my_task.py", "my_task.yaml"]
    words = [*(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_methods.py"), "-k"]
    laws = "gradient or chance_level or deterministic or learn_a_batch or the_same"
    beside = f"--basetemp={world.parent / 'skeleton'}"  # of the world and its index, as if by a process of pytest-xdist
    done = subprocess.run(
        [*words, laws, beside],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone), "PYTEST_XDIST_WORKER": "skeleton"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("....")
    if shutil.which("ruff"):
        files = [clone / "avssl/methods/temporal/my_task.py", clone / "avssl/methods/__init__.pyi"]
        options = ["--config", ROOT / "pyproject.toml"]
        subprocess.run(["ruff", "check", *options, *files], check=True)
        subprocess.run(["ruff", "format", "--check", *options, *files], check=True)


def test_names_that_would_overwrite_or_are_no_modules_are_refused(clone, capsys):
    assert main(["new-method", "MyTask", f"--root={clone}"]) == 2
    assert main(["new-method", "arrow", f"--root={clone}"]) == 2
    assert main(["new-method", "my_task", f"--root={clone / 'docs'}"]) == 2
    assert "lower case" in capsys.readouterr().err
    assert not list(clone.rglob("my_task.*"))
