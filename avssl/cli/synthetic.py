"""``avssl synthetic``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from avssl.runtime.parser import Parser
from avssl.synthetic import World, write_world


def parser() -> Parser:
    """Return the parser of ``avssl synthetic``."""
    made = Parser(
        prog="avssl synthetic",
        description="Render the synthetic audio-visual world as H.264/AAC files in class folders, with known ground "
        "truth.",
        examples=[
            "avssl synthetic -o world --videos=24 --seconds=3 --size=64",
        ],
    )
    made.add_argument("-o", "--out", type=Path | None, help="folder to write (default: one in the cache)")
    made.add_class_arguments(World)
    return made


def run(words: Sequence[str]) -> None:
    """Render what is missing, and print the folder."""
    args = parser().parse_args(words)
    print(write_world(World(**{name: args[name] for name in (field.name for field in fields(World))}), args.out))
