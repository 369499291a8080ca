"""``avssl synthetic``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from avssl.runtime.parser import Parser
from avssl.synthetic import ArenaWorld, FaceWorld, SphereWorld, World, write_world
from avssl.synthetic.writer import AnyWorld

KINDS: dict[str, type[AnyWorld]] = {"scenes": World, "sphere": SphereWorld, "arena": ArenaWorld, "faces": FaceWorld}


def parser(kind: str = "scenes") -> Parser:
    """Return the parser of ``avssl synthetic`` for one kind of world."""
    others = ", ".join(name for name in KINDS if name != kind)
    made = Parser(
        prog="avssl synthetic" if kind == "scenes" else f"avssl synthetic {kind}",
        usage=f"avssl synthetic [{'|'.join(KINDS)}] [-o FOLDER] [...]",
        description=f"Render a synthetic world ({kind}) as ordinary video files with known ground truth: "
        f"docs/synthetic.md. Other worlds: {others}; their options are shown by avssl synthetic WORLD --help.",
        examples=[
            "avssl synthetic -o world --videos=24 --seconds=3 --size=64",
            "avssl synthetic sphere -o panoramas --videos=16",
        ],
    )
    made.add_argument("-o", "--out", type=Path | None, help="folder to write (default: one in the cache)")
    made.add_class_arguments(KINDS[kind])
    return made


def run(words: Sequence[str]) -> None:
    """Render what is missing, and print the folder."""
    kind, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else ("scenes", words)
    if kind not in KINDS:
        raise ValueError(f"avssl synthetic {kind}: there is no such world; there are {', '.join(KINDS)}")
    args = parser(kind).parse_args(rest)
    print(write_world(KINDS[kind](**{field.name: args[field.name] for field in fields(KINDS[kind])}), args.out))
