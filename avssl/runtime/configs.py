"""Packaged configs: where they lie, and how a name or a path finds one."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Literal, NamedTuple

Group = Literal["training", "evaluation"]
FOLDERS: dict[Group, str] = {"training": "", "evaluation": "eval"}  # below `configs_folder`


class PackagedConfig(NamedTuple):
    """One config that avssl ships.

    Attributes:
        name: name by which ``avssl train`` or ``avssl evaluate`` finds it.
        group: training or evaluation.
        path: its YAML file.
        paper: paper or data set, from the first comment line.
        task: pretext task or protocol, from the rest of that line.
        expected: cost and expected result, where the comment line with the command gives them.
    """

    name: str
    group: Group
    path: Path
    paper: str
    task: str
    expected: str


def configs_folder() -> Path:
    """Return the folder of the packaged configs, in an installed wheel or in a clone."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(name: str | Path, group: Group = "training") -> Path:
    """Return the config file at a path, or the packaged config of that name.

    Args:
        name: a path, a name such as ``shuffle_learn``, or the path that a packaged config has in a clone,
            ``configs/shuffle_learn.yaml``.
        group: where names are looked up.

    Raises:
        FileNotFoundError: if there is neither; similar names are suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = configs_folder() / FOLDERS[group]
    in_clone = Path("configs") / FOLDERS[group]
    if path.parent in (Path(), in_clone) and path.suffix in ("", ".yaml"):
        packaged = folder / f"{path.stem}.yaml"
        if packaged.is_file():
            return packaged
    near = difflib.get_close_matches(path.stem, [found.stem for found in folder.glob("*.yaml")], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`avssl configs` lists them"
    raise FileNotFoundError(f"{name}: no such file, and no packaged {group} config has that name; {hint}")


def packaged_configs() -> list[PackagedConfig]:
    """Return all packaged configs, training before evaluation, by name."""
    return [
        _described(path, group)
        for group, folder in FOLDERS.items()
        for path in sorted((configs_folder() / folder).glob("*.yaml"))
        if re.search(r"^name:", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def _described(path: Path, group: Group) -> PackagedConfig:
    title, command, *_ = (line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines())
    paper, _, task = title.partition("): ") if "): " in title else title.partition(": ")
    paper += ")" if "): " in title else ""
    _, _, expected = command.partition("  ")
    return PackagedConfig(path.stem, group, path, paper, task, expected.strip())
