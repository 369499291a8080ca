"""Typed results of `avssl robustness`, its table and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from avssl.evaluation.report import cell
from avssl.evaluation.results import Score
from avssl.runtime.files import write_atomically

SCRATCH, TUNED, TURNS, HANDMADE = "scratch", "fine_tuned", "turns", "handmade"
HEADS = (SCRATCH, TUNED, TURNS, HANDMADE)


@dataclass(frozen=True)
class Standing:
    """What one kind of classifier stands at one share of wrong labels.

    Attributes:
        clean: top-1 on undamaged test videos.
        damaged: top-1 averaged over kinds and severities of damage.
        corrupted: top-1 by kind of damage and severity, from 1 to 5.
        attacked: top-1 under attack, by the largest change of a pixel.
        calibration_error: expected calibration error of undamaged videos (Guo et al., ICML 2017), 0 at best.
        gain: by ``clean`` and ``damaged``: how much more than from scratch, with its interval on the same videos.
    """

    clean: Score
    damaged: Score
    corrupted: Mapping[str, Mapping[str, Score]]
    attacked: Mapping[str, Score]
    calibration_error: Score
    gain: Mapping[str, Score]


@dataclass(frozen=True)
class Odd:
    """How well videos of classes that were left out of training are told: areas under the ROC curve, chance 0.5.

    Attributes:
        areas: mean over the divisions of the classes, by the score: the ``turns`` network's
            ``-KL(U||p) + mean turn cross-entropy``, and largest softmax probabilities.
        gain: of the first over the largest softmax of the same network, and of the fine-tuned one.
        divisions: names of the classes left in, for each division.
    """

    areas: Mapping[str, Score]
    gain: Mapping[str, Score]
    divisions: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Robustness:
    """Content of ``robustness.json``.

    Attributes:
        run: name of the run.
        encoder: the exported encoder's card.
        protocol: identity of data, folds and views, see `avssl.evaluation.protocol.identify`.
        settings: everything else that decides the numbers.
        chance: top-1 of the commonest class of the test videos.
        heads: by the kind of classifier (`HEADS`) and the share of wrong labels.
        odd: None if it was left out; a reason if there are too few classes.
        environment: versions, device, seconds.
    """

    run: str
    encoder: Mapping[str, Any]
    protocol: Mapping[str, Any]
    settings: Mapping[str, Any]
    chance: float
    heads: Mapping[str, Mapping[str, Standing]]
    odd: Odd | str | None
    environment: Mapping[str, Any]


def tables(found: Robustness) -> list[Table]:
    """Return what is printed: classifiers by share of wrong labels, damage by kind, and strange classes."""
    reaches = list(next(iter(found.heads[SCRATCH].values())).attacked)
    title = f"{found.run} on {found.protocol['name']}: top-1, chance {found.chance:.3f}"
    headings = [*("wrong labels", "classifier", "clean", "+ scratch", "damaged", "+ scratch")]
    made = Table(*headings, *(f"attack {reach}" for reach in reaches), "ECE", title=title)
    for share in found.heads[SCRATCH]:
        for name, by_share in found.heads.items():
            one = by_share[share]
            attacks = [cell(one.attacked.get(reach)) for reach in reaches]
            cells = [cell(one.clean), cell(one.gain.get("clean")), cell(one.damaged), cell(one.gain.get("damaged"))]
            made.add_row(share, name, *cells, *attacks, cell(one.calibration_error))
    clean = next(iter(found.heads[SCRATCH]))
    kinds = Table("damage", *found.heads, title=f"top-1, mean of five severities, {clean} of the labels wrong")
    for kind in found.heads[SCRATCH][clean].corrupted:
        each = (by_share[clean].corrupted[kind] for by_share in found.heads.values())
        kinds.add_row(kind, *(f"{mean(score.value for score in scores.values()):.3f}" for scores in each))
    if not isinstance(found.odd, Odd):
        return [made, kinds]
    odd = Table("score", "area", "turns' gain over it", title="classes left out of training: area under the ROC curve")
    for name, score in found.odd.areas.items():
        odd.add_row(name, cell(score), cell(found.odd.gain.get(name)))
    return [made, kinds, odd]


def picture(found: Robustness, path: Path) -> None:
    """Draw top-1 by the share of wrong labels, by the severity of each kind of damage, and under attack."""
    shares = list(found.heads[SCRATCH])
    kinds = list(found.heads[SCRATCH][shares[0]].corrupted)
    figure = Figure(figsize=(3 * (2 + len(kinds)), 3), dpi=110)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(1, 2 + len(kinds), sharey=True)
    for number, (name, by_share) in enumerate(found.heads.items()):
        first, colour = by_share[shares[0]], f"C{number}"
        clean = [by_share[share].clean for share in shares]
        _line(panels[0], [float(share) for share in shares], clean, colour, name)
        for axes, kind in zip(panels[1:], kinds, strict=False):
            _line(axes, list(range(6)), [first.clean, *first.corrupted[kind].values()], colour)
        if first.attacked:
            reaches = [0.0, *(float(reach.partition("/")[0]) for reach in first.attacked)]
            _line(panels[-1], reaches, [first.clean, *first.attacked.values()], colour)
    words = ["share of wrong labels", *(f"{kind}, severity" for kind in kinds), "attack, 1/255"]
    for axes, word in zip(panels, words, strict=True):
        axes.axhline(found.chance, color="0.6", lw=1, ls=":")
        axes.set_xlabel(word)
    panels[0].set_ylabel("top-1")
    panels[0].legend(fontsize=7)
    write_atomically(path, lambda file: FigureCanvasAgg(figure).print_png(file))


def _line(axes: Any, places: Sequence[float], scores: Sequence[Score], colour: str, label: str | None = None) -> None:
    axes.plot(places, [score.value for score in scores], "o-", color=colour, ms=3, label=label)
    low, high = zip(*(score.ci95_bootstrap for score in scores), strict=True)
    axes.fill_between(places, low, high, color=colour, alpha=0.15, lw=0)
