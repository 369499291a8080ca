"""Typed results of `avssl compare`, its tables and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from avssl.applications.compare.reading import PRETEXT, RANK, SCRATCH
from avssl.evaluation.report import cell
from avssl.evaluation.results import Score, to_json
from avssl.runtime.files import write_atomically

HIDDEN = ("R@5", "R@10", "R@20", "R@50", "_ordered")  # read-outs that only ``compare.json`` holds
ROWS = 12  # of correlations in the picture


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over the methods of a plan (chance 0)."""

    plan: str
    predictor: str
    target: str
    methods: int
    score: Score


@dataclass(frozen=True)
class Advantage:
    """How much more fine-tuning gives than the same network from scratch, on the same videos.

    Attributes:
        labels: per class; None for all.
        steps: of fine-tuning.
        scratch_steps: of training from scratch.
        fine_tuned: top-1, the mean over seeds of pretraining.
        scratch: top-1.
        gain: the difference, with its interval.
    """

    plan: str
    method: str
    protocol: str
    labels: int | None
    steps: float
    scratch_steps: float
    fine_tuned: float
    scratch: float
    gain: Score


@dataclass(frozen=True)
class Slope:
    """Change of a number per doubling of a factor, or of two factors together beyond what each does alone."""

    plan: str
    measure: str
    factor: str
    runs: int
    score: Score


@dataclass(frozen=True)
class Comparison:
    """Content of ``compare.json``.

    Attributes:
        methods: numbers by plan and method, means over seeds; see `avssl.applications.compare.reading.Run.known`.
        correlations: what predicts what.
        advantages: fine-tuning against training from scratch.
        slopes: of plans that vary factors.
    """

    methods: Mapping[str, Mapping[str, Mapping[str, float]]]
    correlations: Sequence[Correlation]
    advantages: Sequence[Advantage]
    slopes: Sequence[Slope]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        lists = {name: getattr(self, name) for name in ("correlations", "advantages", "slopes")}
        return {"methods": self.methods} | {name: [to_json(one) for one in each] for name, each in lists.items()}


def shown(name: str) -> bool:
    """Tell whether tables and picture show a number."""
    return not any(part in name for part in HIDDEN)


def tables(found: Comparison) -> list[Table]:
    """Return what is printed: methods, rank correlations, fine-tuning against scratch, slopes."""
    made = []
    for plan, rows in found.methods.items():
        names = list(dict.fromkeys(name for known in rows.values() for name in known if shown(name)))
        table = Table("method", *names, title=f"{plan}: means over seeds")
        for method, known in sorted(rows.items(), key=lambda row: -row[1].get(PRETEXT, 0)):
            table.add_row(method, *(f"{known[name]:.3f}" if name in known else "" for name in names))
        made.append(table)
    ranks = Table("plan", "predicts", "what", "methods", "Spearman", title="rank correlations over methods, chance 0")
    for one in found.correlations:
        if shown(one.predictor) and shown(one.target):
            ranks.add_row(one.plan, one.predictor, one.target, str(one.methods), _signed(one.score))
    headings = ("plan", "method", "protocol", "labels", "steps", "fine-tuned", "scratch", "its steps", "gain")
    worth = Table(*headings, title="fine-tuned against from scratch: top-1")
    for two in found.advantages:
        labels = "all" if two.labels is None else str(two.labels)
        values = [f"{two.steps:g}", f"{two.fine_tuned:.3f}", f"{two.scratch:.3f}", f"{two.scratch_steps:g}"]
        worth.add_row(two.plan, two.method, two.protocol, labels, *values, _signed(two.gain))
    grown = Table("plan", "what", "per doubling of", "runs", "slope", title="slopes")
    for three in found.slopes:
        if shown(three.measure):
            grown.add_row(three.plan, three.measure, three.factor, str(three.runs), _signed(three.score))
    return [*made, *(table for table in (ranks, worth, grown) if table.row_count)]


def _signed(score: Score) -> str:
    return cell(score, "+")


def picture(found: Comparison, path: Path) -> None:
    """Draw, for each plan, fine-tuning by what could predict it, with the rank correlation and its interval above."""
    panels = [
        (plan, one)
        for plan in found.methods
        for one in found.correlations
        if one.plan == plan and shown(one.predictor) and shown(one.target) and _worth_drawing(one, found)
    ][:ROWS]
    figure = Figure(figsize=(3.2 * max(1, min(4, len(panels))), 3 * max(1, -(-len(panels) // 4))), dpi=110)
    figure.set_layout_engine("constrained")
    axes = figure.subplots(max(1, -(-len(panels) // 4)), max(1, min(4, len(panels))), squeeze=False).ravel()
    for place, (plan, one) in zip(axes, panels, strict=False):
        for method, known in found.methods[plan].items():
            if one.predictor in known and one.target in known:
                place.plot(known[one.predictor], known[one.target], "o", color="C0", ms=3)
                place.annotate(method, (known[one.predictor], known[one.target]), fontsize=4, alpha=0.7)
        low, high = one.score.ci95_bootstrap
        place.set_title(f"{plan}: {one.score.value:+.2f} ({low:+.2f} to {high:+.2f})", fontsize=8)
        place.set_xlabel(one.predictor, fontsize=7)
        place.set_ylabel(one.target, fontsize=7)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


def _worth_drawing(one: Correlation, found: Comparison) -> bool:
    """Tell whether the target is what a trained network reaches or, where none is trained, any."""
    trained = any("fine_tune" in other.target for other in found.correlations if other.plan == one.plan)
    wanted = "fine_tune" in one.target and SCRATCH not in one.target if trained else True
    return wanted or (one.predictor in (PRETEXT, RANK) and "stage2" in one.target)
