"""Tables of many runs: transfer under each protocol, synchrony, and the pretext task on held-out videos."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avssl.evaluation.report import advantage, cell, collect, comparison, markdown
from avssl.evaluation.results import Score
from avssl.runtime.configs import configs_folder

SYNC = ("auc", "accuracy", "auc_other_video", "within_a_frame", "within_200_ms")
WIDE = re.compile(r"R@(10|20|50)|(R@|neigh).*_ordered.*")  # columns that only `avssl table` shows


def plan_tables(done: Sequence[Path]) -> str:
    """Return Markdown tables of results: under each protocol, in synchrony, and in their own task on held-out videos.

    ``done`` are the folders of the kept results, in the order of the rows.
    """
    parts = []
    for name in sorted({path.parent.name for run in done for path in run.glob("eval/*/results.json")}):
        judged = [run for run in done if (run / "eval" / name).exists()]
        published = None if name.startswith("stages") else configs_folder() / "eval/published.yaml"  # of videos
        results = collect(judged, name)
        for headings, rows in (comparison(results, published), advantage(results)):
            if rows:
                shown = [place for place, heading in enumerate(headings) if not WIDE.fullmatch(heading)]
                narrow = [[line[place] for place in shown] for line in (headings, *rows)]
                parts.append(markdown(narrow[0], narrow[1:]))
    sync = [[run.name, *_synchrony(json.loads(path.read_text()))] for run in done for path in run.glob("sync_*.json")]
    if sync:
        parts.append(markdown(["run", "videos", *SYNC, "median error, ms"], sync))
    headings = ["run", "metric", "held-out videos", "chance", "steps", "CPU minutes", "bfloat16", "RankMe"]
    return "\n".join([*parts, markdown(headings, [row for run in done for row in _pretext(run)])])


def _synchrony(found: dict[str, Any]) -> list[str]:
    """Return the cells of one run's synchrony (`avssl.evaluation.synchrony`), with intervals and chance levels."""
    rates = [found[name] for name in SYNC]
    cells = [f"{cell(Score(rate['value'], rate['ci95']))}, chance {rate['chance']:.2f}" for rate in rates]
    return [str(found["videos"]), *cells, f"{found['error_ms']['median_absolute']:.0f}"]


def _pretext(run: Path) -> list[list[str]]:
    """Return a row for each metric of the run's pretext task that has a chance level."""
    held_out, cost, card = (
        json.loads((run / name).read_text()) for name in ("held_out.json", "cost.json", "encoder/encoder.json")
    )
    metrics = held_out["metrics"]
    bfloat16 = {True: "yes", False: "no", None: ""}[cost.get("bfloat16")]
    bfloat16 += f" (x {cost['dearer']:.1f})" if "dearer" in cost else ""
    rank = f"{held_out['collapse']['rankme']:.1f} of {card['num_features']}"
    common = [str(card["steps"]), f"{cost['cpu_minutes']:.1f}", bfloat16, rank]
    rows = []
    for name, value in metrics.items():
        if (chance := metrics.get(f"chance/{name}")) is not None:
            reached = cell(Score(value["mean"], (value["low"], value["high"])))
            rows.append([run.name, name, reached, f"{chance['mean']:.3f}", *common])
    return rows
