"""``avssl study``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from avssl.runtime.parser import Parser
from avssl.studies.affinity import affinity
from avssl.studies.colours import colours
from avssl.studies.drift import drift
from avssl.studies.motion_energy import motion_energy
from avssl.studies.transfer import run_plan
from avssl.studies.unseen import unseen

STUDIES: dict[str, Callable[..., None]] = {
    "run": run_plan,
    "unseen": unseen,
    "motion_energy": motion_energy,
    "colours": colours,
    "drift": drift,
    "affinity": affinity,
}


def parser() -> Parser:
    """Return the parser of ``avssl study``."""
    made = Parser(
        prog="avssl study",
        description="Compare many runs. A plan alone, or `run PLAN`, pretrains, evaluates and tabulates every method "
        "of the plan; it resumes where it stopped, and makes no result twice. The others are audits.",
        examples=[
            "avssl study benchmarks/ut_interaction.yaml -o docs/results.md",
            "avssl study benchmarks/temporal.yaml --only vcop simclr",
            "avssl study unseen benchmarks/unseen.yaml",
            "avssl study affinity [runs/simclr,runs/vcop] --protocols=[ut_interaction]",
        ],
    )
    commands = made.add_subcommands(dest="study")
    for name, study in STUDIES.items():
        part = Parser(description=(study.__doc__ or "").partition("\n")[0])
        if study is run_plan:
            part.add_argument("plan", type=Path, help="a YAML file, see `avssl.studies.Plan`")
            part.add_argument("-o", "--out", type=Path | None, help="page whose tables are replaced")
            part.add_argument("--only", nargs="*", help="methods to run, none to print the tables alone")
        part.add_function_arguments(
            study, as_positional=True, skip={"plan", "out", "only"} if study is run_plan else set()
        )
        commands.add_subcommand(name, part)
    return made


def run(words: Sequence[str]) -> None:
    """Carry out a study."""
    short = bool(words) and words[0] not in STUDIES and not words[0].startswith("-")
    made = parser()
    args = made.instantiate(made.parse_args(["run", *words] if short else list(words)))
    STUDIES[args.study](**vars(args[args.study]))
