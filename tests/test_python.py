"""The oldest supported Python is said in one voice, and no file needs a newer one."""

import ast
import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_check_is_made_for_the_oldest_supported_python():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    floor = int(re.fullmatch(r">=3\.(\d+)", config["options"]["python_requires"])[1])
    assert config["mypy"]["python_version"] == f"3.{floor}"
    assert f'target-version = "py3{floor}"' in (ROOT / "pyproject.toml").read_text()
    assert min(map(int, re.findall(r":: 3\.(\d+)", config["metadata"]["classifiers"]))) == floor
    files = [path for folder in ("avssl", "tools", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    for path in files:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, floor))
