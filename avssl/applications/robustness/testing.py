"""What classifiers say of test videos, as they are, damaged and attacked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from avssl.applications.robustness.attack import attacked
from avssl.applications.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from avssl.applications.robustness.heads import TurnClassifier
from avssl.applications.robustness.training import handmade, probabilities
from avssl.evaluation.features import VIEWS_AT_ONCE, Normalise, ViewDataset
from avssl.evaluation.finetune import Classifier
from avssl.evaluation.training_clips import Pixels
from avssl.runtime.progress import Tally

CLEAN = "clean"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What one classifier says of V test videos.

    Attributes:
        probabilities: by what was done to the videos (`CLEAN`, ``noise 3``, ``8/255``): ``[V, K]``; for attacks of
            the videos that were attacked alone.
        turn_costs: ``[V]`` cross-entropy of the turn, of classifiers that are asked for it.
    """

    probabilities: Mapping[str, Floats]
    turn_costs: Floats | None = None


def damages(frames: int) -> dict[str, list[str]]:
    """Return the names of what is done to clips of so many frames, by kind of damage."""
    kinds = [kind for kind, one in CORRUPTIONS.items() if frames >= one.frames]
    return {kind: [f"{kind} {severity + 1}" for severity in range(SEVERITIES)] for kind in kinds}


def answers(
    networks: Sequence[Classifier],
    baselines: Sequence[Pipeline],
    pixels: Pixels,
    rows: NDArray[np.int64],
    attacks: Sequence[float] = (),
    chosen: Sequence[int] = (),
    damaged: bool = True,
) -> list[Answers]:
    """Ask all classifiers about some videos, which are decoded once.

    Args:
        networks: on the CPU, in eval mode, trained with the same statistics of pixels.
        baselines: classifiers of hand-made features.
        pixels: the videos; every clip of their views is asked about, and probabilities are averaged.
        rows: positions of the videos.
        attacks: largest changes of a pixel, in 255ths of white.
        chosen: those of ``rows`` that are attacked.
        damaged: whether to ask about all kinds and severities of damage too.

    Returns:
        The answers of the networks, then those of the baselines.
    """
    views, machine = pixels.views, pixels.machine
    kinds = damages(views.num_frames) if damaged else {}
    done = [CLEAN, *(name for names in kinds.values() for name in names)]
    found: list[dict[str, list[Floats]]] = [defaultdict(list) for _ in (*networks, *baselines)]
    costs: list[list[Floats]] = [[] for _ in networks]
    for network in networks:
        network.to(machine.target).requires_grad_(False)
    together = max(1, VIEWS_AT_ONCE // views.count)
    shown = machine.loader(ViewDataset(pixels.videos, rows.tolist(), views), together)
    with Tally("test videos", len(rows)) as tally:
        for start, clips in zip(range(0, len(rows), together), shown, strict=True):
            some = rows[start : start + together]
            for name in done:
                changed = clips if name == CLEAN else _damaged(clips, name, some)
                for place, network in enumerate(networks):
                    given, turns = _asked(network, changed, pixels, name == CLEAN)
                    found[place][name].append(given)
                    costs[place] += [] if turns is None else [turns]
                features = np.stack([handmade(each) for each in changed]) if baselines else None
                for place, baseline in enumerate(baselines, len(networks)):
                    assert features is not None
                    found[place][name].append(probabilities(baseline, features, pixels.classes))
            tested = np.flatnonzero(np.isin(some, list(chosen)))
            for reach in attacks if len(tested) else ():
                labels = torch.from_numpy(pixels.labels[some[tested]]).repeat_interleave(views.count)
                for place, network in enumerate(networks):
                    statistics = Normalise.of(network.encoder, machine)
                    fooled = attacked(network, clips[tested].flatten(0, 1), labels, reach / 255, statistics)
                    found[place][f"{reach:g}/255"].append(_mean(fooled, len(tested)))
            for _ in some:
                tally.add("tested")
    for network in networks:
        network.cpu()
    whole = [{name: np.concatenate(parts) for name, parts in each.items()} for each in found]
    turned = [np.concatenate(each) if each else None for each in costs] + [None] * len(baselines)
    return [Answers(each, cost) for each, cost in zip(whole, turned, strict=True)]


def _damaged(clips: torch.Tensor, name: str, rows: NDArray[np.int64]) -> torch.Tensor:
    kind, severity = name.split()
    return torch.stack(
        [corrupted(each, kind, int(severity), row) for each, row in zip(clips, rows.tolist(), strict=True)]
    )


@torch.no_grad()
def _asked(network: Classifier, clips: torch.Tensor, pixels: Pixels, turns: bool) -> tuple[Floats, Floats | None]:
    """Return class probabilities ``[B, K]`` of videos ``[B, M, T, 3, S, S]``, and the turn's cost if asked for it."""
    seen = Normalise.of(network.encoder, pixels.machine)(clips.flatten(0, 1))
    with pixels.machine.autocast():
        logits = network(seen).float()
        costs = network.turn_costs(seen) if turns and isinstance(network, TurnClassifier) else None
    return _mean(logits, len(clips)), None if costs is None else costs.view(len(clips), -1).mean(
        1
    ).double().cpu().numpy()


def _mean(logits: torch.Tensor, videos: int) -> Floats:
    """Average the class probabilities of each video's views, given by their logits: ``[B, K]``."""
    return logits.softmax(1).unflatten(0, (videos, -1)).mean(1).double().cpu().numpy()
