"""What self-supervision is worth on some videos, in words, from accuracies that no choice has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avssl.applications.advise.judging import Judgement, Labels, nested
from avssl.evaluation.metrics import gain
from avssl.evaluation.report import cell
from avssl.evaluation.results import Score, Summary

LEARNT, UNTRAINED, BEST = "self-supervised, chosen", "untrained, chosen", "best of all, chosen"
WORTH = 0.1  # gain in accuracy that is worth seeing
CLEAR = 0.0  # end of an interval above which a gain is one


@dataclass(frozen=True)
class Worth:
    """Accuracies and gains of an advice.

    Attributes:
        summaries: by the encoder's name, and those of the choices `LEARNT`, `UNTRAINED` and `BEST`.
        chosen: for each of these choices, the encoder chosen in each outer fold.
        gains: of the self-supervised choice over others, by their names.
    """

    summaries: Mapping[str, Summary]
    chosen: Mapping[str, Sequence[str]]
    gains: Mapping[str, Score]


def worth_of(judged: Mapping[str, Judgement], labels: Labels, tried: Sequence[str], count: int, handmade: str) -> Worth:
    """Return accuracies over outer folds, each encoder's and those of choosing among them.

    In an outer fold the candidates are the ``count`` tasks whose trials did best on its own inner folds, each as far as
    it was trained. Which tasks were trained further was decided with all labels; a fold that would have decided
    otherwise has its own choice's trial instead, so that no label of its test videos can raise its accuracy.

    Args:
        judged: judgements by name: ``TASK, trial`` and ``TASK, continued``.
        labels: the labels.
        tried: names of the tasks.
        count: number of tasks that were continued.
        handmade: name of the hand-made features.
    """
    folds = range(len(labels.folds.folds))
    summaries = {name: nested(judged, [[name]] * len(folds), labels)[0] for name in judged}
    untrained = [name for name in judged if name.startswith("untrained")]
    pools: dict[str, list[list[str]]] = {UNTRAINED: [untrained] * len(folds)} if untrained else {}
    if tried:
        own = [
            sorted(tried, key=lambda task: judged[f"{task}, trial"]["inner"][number], reverse=True)[: max(1, count)]
            for number in folds
        ]
        pools[LEARNT] = [[latest(judged, task) for task in tasks] for tasks in own]
    others = [name for name in judged if name == handmade or name.startswith(("untrained", "given"))]
    pools[BEST] = [[*others, *pools.get(LEARNT, [[]] * len(folds))[number]] for number in folds]
    chosen: dict[str, list[str]] = {}
    for name, pool in pools.items():
        summaries[name], chosen[name] = nested(judged, pool, labels)
    gains: dict[str, Score] = {}
    if tried:
        for name in (handmade, UNTRAINED, *(one for one in others if one.startswith("given"))):
            if name in summaries and (more := gain([summaries[LEARNT]], summaries[name])) is not None:
                gains[name] = more
    return Worth(summaries, chosen, gains)


def latest(judged: Mapping[str, Judgement], task: str) -> str:
    """Return the name of a task's encoder that was trained longest."""
    return f"{task}, continued" if f"{task}, continued" in judged else f"{task}, trial"


def in_words(worth: Worth, labels: Labels, handmade: str) -> list[str]:
    """Say what self-supervision is worth, and whether it is worth it at all; the first sentence is the answer."""
    count, classes = len(labels.videos), len(labels.videos.classes)
    best = worth.summaries[BEST]
    told = f"{count} labelled videos of {classes} classes; chance is {labels.chance:.2f}"
    if LEARNT not in worth.summaries:
        return [f"No pretext task was tried. The best of what exists reaches {cell(best.top1)} ({told})."]
    learnt = worth.summaries[LEARNT]
    words = [
        f"The self-supervised encoder reaches an accuracy of {cell(learnt.top1)} on videos that no choice has seen "
        f"({told})."
    ]
    for name, more in worth.gains.items():
        words.append(f"That is {cell(more, '+')} over {_said(name)}: {_clearly(more)}.")
    if learnt.top1.ci95_bootstrap[0] <= labels.chance:
        answer = "With these labels it can't be told from guessing: label more videos before deciding anything."
    elif any(more.ci95_bootstrap[1] < CLEAR for more in worth.gains.values()):
        better = [name for name, more in worth.gains.items() if more.ci95_bootstrap[1] < CLEAR]
        answer = f"In this time it is not worth it: {_said(better[0])} does better."
    elif all(more.ci95_bootstrap[0] > CLEAR for more in worth.gains.values()):
        answer = "It is worth it: the encoder beats everything that needs no training on your videos."
    else:
        level = [name for name, more in worth.gains.items() if more.ci95_bootstrap[0] <= CLEAR]
        width = max((more.ci95_bootstrap[1] - more.ci95_bootstrap[0]) / 2 for more in worth.gains.values())
        needed = int(np.ceil(count * (width / WORTH) ** 2))
        more_labels = f" About {needed} labelled videos would show a gain of {WORTH:g}." if needed > count else ""
        answer = (
            f"Whether it is worth it can't be told: it is level with {' and '.join(map(_said, level))}.{more_labels}"
        )
    return [answer, *words]


def without_labels(judged: Mapping[str, Judgement], tried: Sequence[str], why: str) -> list[str]:
    """Say what can be said without labels."""
    words = [
        f"What self-supervision is worth can't be told: {why}. Label a few videos per class, in two groups at least."
    ]
    for task in tried:
        one = judged[latest(judged, task)]
        state = "its features have collapsed" if one["collapsed"] else "its features have not collapsed"
        rank = one["criteria"].get("rankme")
        words.append(f"{task}: {state}" + ("" if rank is None else f" (effective rank {rank:.1f})") + ".")
    return words


def _said(name: str) -> str:
    return {UNTRAINED: "the untrained network"}.get(name, name)


def _clearly(more: Score) -> str:
    low, high = more.ci95_bootstrap
    if low > CLEAR:
        return "a clear gain"
    return "a clear loss" if high < CLEAR else "not clear of zero"


def chosen_words(worth: Worth) -> dict[str, Any]:
    """Return how often each encoder was chosen, by the choice's name."""
    return {
        name: ", ".join(f"{one} ({list(names).count(one)})" for one in dict.fromkeys(names))
        for name, names in worth.chosen.items()
    }
