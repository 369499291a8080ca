"""``avssl configs``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from avssl.runtime.configs import FOLDERS, Group, configs_folder, find_config, packaged
from avssl.runtime.parser import Parser


class PackagedConfig(NamedTuple):
    """One config that avssl ships.

    Attributes:
        name: name by which ``avssl train``, ``avssl evaluate`` or ``avssl audio`` finds it.
        group: training, evaluation or audio.
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


def parser() -> Parser:
    """Return the parser of ``avssl configs``."""
    made = Parser(
        prog="avssl configs",
        description="List the packaged configs: of avssl train, of avssl evaluate, and of avssl audio. With a name, "
        "print that config, to save and change. Those called paper/... have the settings of papers, for many GPUs.",
        examples=[
            "avssl configs shuffle_learn > mine.yaml",
        ],
    )
    made.add_argument("name", type=str | None, nargs="?", help="config to print")
    return made


def run(words: Sequence[str]) -> None:
    """Print the table, or one config."""
    name = parser().parse_args(words).name
    configs = packaged_configs()
    if name is not None:
        found = next((config.path for config in configs if config.name == name), None) or find_config(name)
        print(found.read_text(encoding="utf-8"), end="")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "paper or data set", "task", "cost and expected result", "group")
    for config in configs:
        table.add_row(config.name, config.paper, config.task, config.expected, config.group)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(f"{len(configs)} configs in {configs_folder()}")


def packaged_configs() -> list[PackagedConfig]:
    """Return all packaged configs by name: training before evaluation, and those of papers after each."""
    return [
        _described(name, path, group)
        for group in FOLDERS
        for name, path in packaged(group).items()
        if re.search(r"^name:", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def _described(name: str, path: Path, group: Group) -> PackagedConfig:
    title, command, *_ = (line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines())
    paper, _, task = title.partition("): ") if "): " in title else title.partition(": ")
    paper += ")" if "): " in title else ""
    _, _, expected = command.partition("  ")
    return PackagedConfig(name, group, path, paper, task, expected.strip())
