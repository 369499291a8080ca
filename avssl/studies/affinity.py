"""How tasks belong together: affinity of encoders to targets, how alike encoders are, whether either predicts transfer.

A. Zamir et al.: Taskonomy: Disentangling Task Transfer Learning. CVPR 2018. Their transfer networks are ridge
regression here, and their budgeted choice of sources is left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from avssl.encoders import Encoder, load_encoder
from avssl.encoders.inference import for_inference
from avssl.evaluation.features import Normalise, spread
from avssl.evaluation.handmade import MotionEnergy
from avssl.evaluation.record import random_init
from avssl.evaluation.results import to_json
from avssl.evaluation.trial import video_bank
from avssl.runtime.device import Machine
from avssl.runtime.files import write_text
from avssl.runtime.progress import Tally
from avssl.studies.affinity_picture import affinity_picture
from avssl.studies.affinity_results import Affinity
from avssl.studies.similarity import MEASURES, Agreement, Numbers, matrices_agree, similarities, vectors_agree
from avssl.studies.targets import TARGETS, held_out, rendered
from avssl.studies.unseen import protocol_task

GRID = (4, 2, 2)  # cells in time, height and width, on which maps are averaged
FRAMES = 17  # of a clip
SIZE = 64  # pixels
FOLDS = 5  # of the scenes
LEAST, MOST = 0.001, 0.999  # shares of wins, as in Taskonomy
TOGETHER = 16  # clips that are encoded at once


def affinity(
    runs: list[Path],
    protocols: list[str] | None = None,
    out: Path = Path("affinity"),
    scenes: int = 240,
    size: int = SIZE,
    machine: Machine = Machine(),  # noqa: B008
) -> None:
    """Draw how encoders belong to targets and to each other, and print whether that predicts transfer.

    Beside the encoders stand each network untrained and hand-made motion energy. Writes ``affinity.png`` (matrix and
    tree) and ``affinity.json``.

    Args:
        runs: run folders or export folders, at least one.
        protocols: paths or packaged names of evaluation protocols, whose labelled sets are targets too, beside the
            eight that rendered scenes know.
        out: folder to write.
        scenes: rendered scenes.
        size: pixels of the frames.
        machine: device, workers and cache.

    Raises:
        FileNotFoundError: if a run has no encoder.
        ValueError: if two sources have one name, or scenes are too few.
    """
    if scenes < 4 * FOLDS:
        raise ValueError(f"affinity: scenes is {scenes}: at least {4 * FOLDS}")
    sources = named_sources(runs)
    clips, wanted = rendered(scenes, FRAMES, size)
    features = {}
    with Tally("encoders", len(sources)) as tally:
        for name, encoder in sources.items():
            features[name] = encode_clips(encoder, clips, machine)
            tally.add("encoders")
    folds = [
        ([i for i in range(scenes) if i % FOLDS != part], list(range(part, scenes, FOLDS))) for part in range(FOLDS)
    ]
    errors = {target: _errors(list(features.values()), wanted[target], folds) for target in TARGETS}
    explained = {target: 1 - found.mean(1) for target, found in errors.items()}
    for name in protocols or ():
        task = protocol_task(name)
        whole = spread(task.protocol.views, FRAMES)
        banks = [video_bank(task, encoder, machine, GRID, views=whole) for encoder in sources.values()]
        if task.several:
            raise ValueError(f"{name}: videos show several classes, which affinity does not read")
        classes = np.eye(task.classes)[task.labels]
        pairs = [(fold.train, fold.test) for fold in task.folds.folds]
        values = [np.asarray(bank.features[:]).mean(1).astype(np.float64) for bank in banks]
        errors[task.protocol.name], explained[task.protocol.name] = labelled_errors(values, classes, pairs)
    found = judge(list(sources), errors, explained, list(features.values()), len(protocols or ()))
    out.mkdir(parents=True, exist_ok=True)
    affinity_picture(found, out / "affinity.png")
    write_text(out / "affinity.json", json.dumps(as_json(found), indent=1) + "\n")
    print_affinity(found, Console(width=160))
    print(out / "affinity.png")


def named_sources(runs: Sequence[Path]) -> dict[str, Encoder]:
    """Return the encoders of runs by the names of their folders, each network untrained, and motion energy."""
    found: dict[str, Encoder] = {}
    fresh: dict[str, Encoder] = {}
    for run in runs:
        if run.name in found:
            raise ValueError(f"{run}: another run is called {run.name!r} too: rename one, as names stand for them here")
        found[run.name] = encoder = load_encoder(run)
        kind = f"untrained {type(encoder).__name__}"
        alike = [one.config for one in fresh.values() if type(one) is type(encoder)]
        if encoder.config not in alike:
            more = sum(name.startswith(kind) for name in fresh)
            fresh[f"{kind} ({more + 1})" if more else kind] = random_init(encoder, 0)
    return {**found, **fresh, "hand-made motion": MotionEnergy(directions=True)}


def encode_clips(encoder: Encoder, clips: Tensor, machine: Machine) -> Numbers:
    """Return the maps of clips ``[N, T, 3, H, W]`` uint8 averaged on a grid: ``[N, t h w D]``."""
    quick = for_inference(encoder.to(machine.target), machine.half)
    normalise, found = Normalise.of(encoder, machine), []
    with torch.inference_mode(), machine.autocast():
        for some in clips.split(TOGETHER):
            maps = quick.maps(normalise(some)).float()
            time, height, width = (min(pair) for pair in zip(GRID, maps.shape[2:], strict=True))
            found.append(F.adaptive_avg_pool3d(maps, (time, height, width)).flatten(1).cpu())
    return torch.cat(found).numpy().astype(np.float64)


def _errors(
    features: Sequence[Numbers], target: Numbers, folds: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Numbers:
    """Return each source's squared error for each sample ``[S, N]``, relative to the variance of the target."""
    scale = ((target - target.mean(0)) ** 2).mean()
    return np.stack([((held_out(values, target, folds) - target) ** 2).mean(1) / scale for values in features])


def labelled_errors(
    features: Sequence[Numbers], classes: Numbers, folds: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> tuple[Numbers, Numbers]:
    """Return what `_errors` returns of one-hot classes ``[V, K]``, for the tested videos, and accuracies ``[S]``."""
    found = [held_out(values, classes, folds) for values in features]
    tested = ~np.isnan(found[0]).any(1)
    right = [float((one[tested].argmax(1) == classes[tested].argmax(1)).mean()) for one in found]
    scale = ((classes - classes.mean(0)) ** 2).mean()
    return np.stack([((one - classes)[tested] ** 2).mean(1) / scale for one in found]), np.array(right)


def wins(errors: Numbers) -> Numbers:
    """Return in ``[S, S]`` the share of samples on which source i errs less than source j; ties count one half."""
    less = (errors[:, None] < errors[None]).mean(2)
    return less + (errors[:, None] == errors[None]).mean(2) / 2


def normalised_affinity(shares: Numbers) -> Numbers:
    """Return the affinity ``[S]`` of sources to a target, which sums to 1, of the shares of `wins`.

    It is the principal eigenvector of the ratios of wins to losses (Taskonomy, section 3.3: analytic hierarchy process;
    Saaty, 1987), whose entries are clipped to 0.001 and 0.999 before.
    """
    clipped = np.clip(shares, LEAST, MOST)
    values, vectors = np.linalg.eig(clipped / clipped.T)
    first = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    return first / first.sum()


def judge(
    sources: Sequence[str],
    errors: dict[str, Numbers],
    explained: dict[str, Numbers],
    features: Sequence[Numbers],
    labelled: int,
) -> Affinity:
    """Make an `Affinity` of errors ``[S, N]`` and accuracies by target, and features of the same clips by source."""
    targets = list(errors)
    matrix = np.stack([normalised_affinity(wins(errors[target])) for target in targets], 1)  # [S, T]
    halves: dict[str, float | None] = {}
    for target in targets:
        even, odd = (normalised_affinity(wins(errors[target][:, start::2])) for start in (0, 1))
        agreement = vectors_agree(even, odd)
        halves[target] = None if agreement is None else agreement.value
    alike = {name: similarities(features, measure) for name, measure in MEASURES.items()}
    logs = np.log(matrix)
    known = logs.shape[1] - labelled
    reached = np.stack([explained[target] for target in targets], 1)
    predicts: dict[str, Agreement | None] = {}
    for place in range(known, len(targets)):
        text = f"affinity to the rendered targets, and accuracy on {targets[place]}"
        predicts[text] = vectors_agree(logs[:, :known].mean(1), reached[:, place])
    apart = np.abs(logs[:, None] - logs[None]).mean(2)
    for name, matrix_alike in alike.items():
        predicts[f"{name} of two encoders, and how alike their affinities are"] = matrices_agree(matrix_alike, -apart)
    return Affinity(list(sources), targets, matrix, halves, alike, reached, predicts)


def print_affinity(found: Affinity, console: Console) -> None:
    """Print the affinities with the best source of each target in bold, and what predicts what."""
    table = Table("target", *found.sources, "best", "halves agree", title="normalised affinity (columns: sources)")
    for place, target in enumerate(found.targets):
        values = found.affinity[:, place]
        cells = [f"[bold]{value:.3f}[/]" if value == values.max() else f"{value:.3f}" for value in values]
        halves = found.halves[target]
        table.add_row(target, *cells, found.sources[int(values.argmax())], "" if halves is None else f"{halves:+.2f}")
    console.print(table)
    table = Table("target", *found.sources, title="share of variance predicted; of labelled sets, accuracy")
    for place, target in enumerate(found.targets):
        table.add_row(target, *(f"{value:.3f}" for value in found.explained[:, place]))
    console.print(table)
    table = Table("rank correlation of", "Spearman's", "p (permutations)")
    for name, agreement in found.predicts.items():
        cells = ["too few encoders", ""] if agreement is None else [f"{agreement.value:+.2f}", f"{agreement.p:.3f}"]
        table.add_row(name, *cells)
    console.print(table)


def as_json(found: Affinity) -> dict[str, object]:
    """Return JSON values."""
    return {
        "sources": found.sources,
        "targets": found.targets,
        "affinity": found.affinity.tolist(),
        "halves": found.halves,
        "alike": {name: matrix.tolist() for name, matrix in found.alike.items()},
        "explained": found.explained.tolist(),
        "predicts": to_json(found.predicts),
    }
