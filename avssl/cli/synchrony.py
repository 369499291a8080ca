"""``avssl synchrony``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avssl.evaluation.results import to_json
from avssl.evaluation.synchrony import measure_synchrony
from avssl.runtime.checks import check_ranges
from avssl.runtime.files import write_text
from avssl.runtime.parser import Parser
from avssl.training.data import parts, split
from avssl.training.split import RunSplit
from avssl.training.worlds import open_root


def parser() -> Parser:
    """Return the parser of ``avssl synchrony``."""
    made = Parser(
        prog="avssl synchrony",
        description="Measure how well a run finds the offset between sound and picture, on videos that are in sync.",
        examples=[
            "avssl synchrony VIDEOS --run=runs/syncnet --held_out=0.15",
        ],
    )
    made.add_argument("root", help="a folder or manifest of videos, or a built-in world such as synthetic")
    made.add_argument("--run", type=Path, required=True, help="run folder")
    made.add_argument("--held_out", type=float | None, help="use the videos that a run with this share held out")
    made.add_argument("--reach", type=float, default=0.4, help="largest offset considered, in seconds")
    return made


def run(words: Sequence[str]) -> None:
    """Measure, print the results and write them into the run's folder."""
    args = parser().parse_args(words)
    check_ranges("", args, reach="(0, inf)", held_out="(0, 1)")
    videos = open_root(args.root)
    measured = videos
    if args.held_out:
        kept = RunSplit.read(args.run)
        ours = kept if kept is not None and kept.fingerprint == videos.fingerprint else None
        measured = (split(videos, args.held_out) if ours is None else parts(videos, ours.held_out))[1]
    keep(to_json(measure_synchrony(measured, args.run, args.reach)), args.run, "sync", args.root)


def keep(results: Mapping[str, Any], run: Path, kind: str, root: str) -> None:
    """Print results, and write them to ``<run>/<kind>_<collection>.json``."""
    where = Path(root).resolve()
    name = where.parent.name if where.is_file() else where.name  # a manifest is named by its folder
    out = run / f"{kind}_{name}.json"
    write_text(out, json.dumps(results, indent=1))
    for key, value in results.items():
        print(f"{key:16} {_line(value)}")
    print(out)


def _line(value: Any) -> str:
    if isinstance(value, dict) and "video" in value:
        value = {"value": value["video"]["top1"]["value"], "ci95": value["video"]["top1"]["ci95_bootstrap"]}
    return json.dumps({k: v for k, v in value.items() if k != "each"} if isinstance(value, dict) else value)
