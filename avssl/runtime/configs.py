"""Packaged configs: where they lie, and how a name or a path finds one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

Group = Literal["training", "evaluation"]
FOLDERS: dict[Group, str] = {"training": "", "evaluation": "eval"}  # below `configs_folder`


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
