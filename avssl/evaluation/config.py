"""Parser of an evaluation protocol: a YAML file of a `Protocol`, and ``--key.sub=value``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from avssl.evaluation.protocol import Protocol
from avssl.runtime.device import Machine


def parser(description: str | None) -> ArgumentParser:
    """Return a parser of ``CONFIG --run=RUN [--key.sub=value ...] [--machine.workers=N ...]``."""
    made = ArgumentParser(description=description, allow_abbrev=False)
    made.add_argument("--config", action="config", help="a YAML file; given as the first argument, without --config")
    made.add_argument("--run", type=Path, required=True, help="run folder or export folder")
    made.add_class_arguments(Protocol)
    made.add_class_arguments(Machine, "machine")
    return made


def parse(made: ArgumentParser, arguments: Sequence[str]) -> tuple[Protocol, Any]:
    """Return the protocol and everything that was parsed (``run``, ``machine``, arguments that the tool has added)."""
    words = list(arguments)
    if words and not words[0].startswith("-"):
        words[0] = f"--config={words[0]}"
    built: Namespace = made.instantiate(made.parse_args(words))
    return Protocol(**{name: built[name] for name in Protocol.__dataclass_fields__}), built
