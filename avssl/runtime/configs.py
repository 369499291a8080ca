"""Packaged configs: where they lie, and how a name or a path finds one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

Group = Literal["training", "evaluation", "audio"]
FOLDERS: dict[Group, str] = {"training": "", "evaluation": "eval", "audio": "eval/audio"}  # below `configs_folder`
PAPER = "paper"  # below each of these: settings of papers, which need many GPUs


def configs_folder() -> Path:
    """Return the folder of the packaged configs, in an installed wheel or in a clone."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def packaged(group: Group) -> dict[str, Path]:
    """Return the files of the packaged configs by name, ``shuffle_learn`` or ``paper/videomae_vitb``, in this order."""
    folder = configs_folder() / FOLDERS[group]
    found = [path for part in ("", PAPER) for path in sorted((folder / part).glob("*.yaml"))]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def find_config(name: str | Path, group: Group = "training") -> Path:
    """Return the config file at a path, or the packaged config of that name.

    Args:
        name: a path, a name such as ``shuffle_learn`` or ``paper/videomae_vitb``, or the path that a packaged config
            has in a clone, ``configs/shuffle_learn.yaml``.
        group: where names are looked up.

    Raises:
        FileNotFoundError: if there is neither; similar names are suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    known, in_clone = packaged(group), Path("configs") / FOLDERS[group]
    short = path.relative_to(in_clone) if path.is_relative_to(in_clone) else path
    key = (short.with_suffix("") if short.suffix == ".yaml" else short).as_posix()
    if key in known:
        return known[key]
    beside = [other for other in known if Path(other).parent == Path(key).parent]
    near = difflib.get_close_matches(key, beside, n=3) or [other for other in known if Path(other).stem == short.stem]
    hint = f"did you mean {' or '.join(near)}?" if near else "`avssl configs` lists them"
    raise FileNotFoundError(f"{name}: no such file, and no packaged {group} config has that name; {hint}")
