"""Parser of an evaluation protocol: a YAML file of a `Protocol`, and ``--key.sub=value``; and of an encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from avssl.encoders import Encoder
from avssl.evaluation import given
from avssl.evaluation.protocol import Protocol
from avssl.runtime.device import Machine
from avssl.runtime.parser import Parser, config_first

NUMBERS = re.compile(r"^(--(?:layers|grid)=)(\d[\d,]*)$")  # --layers=2,5,8,11 for --layers=[2,5,8,11]


def parser(
    description: str | None, prog: str = "avssl evaluate", examples: Sequence[str] = (), several: bool = False
) -> Parser:
    """Return a parser of ``CONFIG --run=RUN [--encoder=CLASS ...] [--key.sub=value ...] [--machine.workers=N ...]``.

    With ``several``, ``--run`` takes several folders.
    """
    runs = "--run RUN [RUN ...]" if several else "--run=RUN"
    usage = f"{prog} CONFIG {runs} [--encoder=CLASS ...] [--key.sub=value ...] [--machine.workers=N ...]"
    made = Parser(prog=prog, usage=usage, description=description, examples=examples)
    made.add_argument("--config", action="config", help="a YAML file; given as the first argument, without --config")
    words = "run folder or export folder; with --encoder, a new one"
    made.add_argument("--run", type=Path, required=True, nargs="+" if several else None, help=words)
    made.add_argument(
        "--encoder",
        type=Encoder | None,
        default=None,
        help="an encoder instead of the run's, by its class; it is exported to RUN/encoder",
    )
    made.add_argument(
        "--own_size", type=bool, default=False, help="show clips at the size on the encoder's card, not views.size"
    )
    made.add_class_arguments(Protocol)
    made.add_class_arguments(Machine, "machine")
    return made


def parse(made: Parser, arguments: Sequence[str]) -> tuple[Protocol, Any]:
    """Return the protocol and everything parsed (``run``, ``encoder``, ``machine`` and further arguments)."""
    given.begin()
    words = [NUMBERS.sub(r"\1[\2]", word) for word in config_first(arguments, "evaluation")]
    built: Namespace = made.instantiate(made.parse_args(words))
    return Protocol(**{name: built[name] for name in Protocol.__dataclass_fields__}), built
