"""``avssl configs``."""

from __future__ import annotations

from collections.abc import Sequence

from avssl.runtime.configs import configs_folder, find_config, packaged_configs
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl configs``."""
    made = Parser(
        prog="avssl configs",
        description="List the packaged configs: those of avssl train, then those of avssl evaluate. With a name, "
        "print that config, to save and change.",
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
    console = Console()
    console.print(table, width=None if console.is_terminal else 160)
    print(f"{len(configs)} configs in {configs_folder()}")
