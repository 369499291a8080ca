"""``avssl study``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avssl.runtime.parser import Parser
from avssl.studies.colours import colours
from avssl.studies.drift import drift
from avssl.studies.motion_energy import motion_energy
from avssl.studies.transfer import run_plan
from avssl.studies.unseen import unseen

STUDIES: dict[str, Callable[..., None]] = {
    "run": run_plan,
    "unseen": unseen,
    "motion-energy": motion_energy,
    "drift": drift,
    "colours": colours,
}


def parser() -> Parser:
    """Return the parser of ``avssl study``."""
    made = Parser(
        prog="avssl study",
        description="Compare many runs: pretrain and judge every method of a plan, and audit what trivial cues answer.",
        examples=[
            "avssl study run benchmarks/temporal.yaml -o docs/results.md",
            "avssl study run benchmarks/temporal.yaml --only",
            "avssl study drift benchmarks/temporal.yaml",
        ],
    )
    commands = made.add_subcommands(dest="study")
    for name, study in STUDIES.items():
        part = Parser(description=(study.__doc__ or "").partition("\n")[0])
        skip: set[str | int] = (
            {"out", "only"} if study is run_plan else set()
        )  # given a short name, and several words, below
        part.add_function_arguments(study, skip=skip, as_group=False, as_positional=True)
        if study is run_plan:
            part.add_argument("-o", "--out", type=Path | None, help="page whose tables are replaced")
            part.add_argument("--only", nargs="*", help="methods to run; none prints what there is")
        commands.add_subcommand(name, part)
    return made


def run(words: Sequence[str]) -> None:
    """Run a study, which prints its tables."""
    made = parser()
    args: Any = made.instantiate(made.parse_args(words))
    STUDIES[args.study](**args[args.study])
