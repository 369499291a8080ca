"""Held-out figures of systems of the talk beside chance and baselines made by hand.

    python benchmarks/systems.py runs/tracked_patches
    python benchmarks/systems.py runs/ambient_sound
    python benchmarks/systems.py runs/spatial_audio
    python benchmarks/systems.py runs/camera_consistency
    python benchmarks/systems.py runs/co_parts

Every figure is a mean over held-out videos with a 95 % interval over resamples of them. Nothing is fitted on them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import faces
import numpy as np
import torch
from jsonargparse import auto_cli
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor
from torch.nn import functional as F

from avssl.applications.spatial import POINTS, earth_mover
from avssl.applications.splice.attributes import tell_attributes
from avssl.applications.splice.measuring import measure_splices
from avssl.clips import Clips
from avssl.data import ambisonics
from avssl.data.dataset import ClipDataset, collate
from avssl.evaluation.metrics import bootstrap
from avssl.evaluation.results import Score
from avssl.methods import AmbientSound, CameraConsistency, CoParts, SpatialAudio, TrackedPatches
from avssl.methods.temporal.tracked_patches import nearest, patch_colours, patch_places
from avssl.synthetic import CLASSES, Scene, World
from avssl.training.config import parse
from avssl.training.module import statistics
from avssl.training.sheet import load_method
from avssl.training.worlds import built_in

Array = NDArray[np.float64]
Figures = dict[str, dict[str, Array]]  # by answer and by measure, one value a video


def main(run: Path, rounds: int = 2, batch: int = 32, size: int = 160) -> None:
    """Print the figures of a run's pretext task.

    Args:
        run: folder of a run.
        rounds: draws from each held-out video.
        batch: videos among which a patch is looked for.
        size: height and width in pixels of the pictures in which splices are looked for.
    """
    made, config = parse([str(run / "config.yaml")])
    config.logger = None
    torch.manual_seed(config.seed)
    built = made.instantiate(config)
    untrained, method = copy.deepcopy(built.method).eval(), built.method
    load_method(method, run)
    method.eval()
    if isinstance(method, CameraConsistency):
        cameras(run, size)
        return
    both = built.data.datasets(method, config.seed, run)
    world = built_in(str(config.data.root))
    kinds: dict[type, Callable[..., Figures]] = {
        TrackedPatches: patches,
        AmbientSound: partial(ambient, world if isinstance(world, World) else None),
        SpatialAudio: spatial,
        CoParts: faces.parts,
    }
    with torch.no_grad():
        figures = kinds[type(method)](method, untrained, both.training, both.held_out, rounds, batch)
    measures = list(next(iter(figures.values())))
    table = Table("", *measures, title=f"{run}: {len(both.held_out)} held-out videos")
    for name, values in figures.items():
        cells = []
        for measure in measures:
            low, high = bootstrap(values[measure][None], range(len(values[measure])), 0)
            cells.append(f"{values[measure].mean():.3f} ({low:.3f} to {high:.3f})")
        table.add_row(name, *cells)
    Console(width=150).print(table)


def cameras(run: Path, size: int) -> None:
    """Print how well attributes are told, and splices found, in held-out pictures and in re-encoded video."""
    table = Table("attribute", "trained", "untrained", "Laplacian energy", title=f"{run}: same value? (chance 0.5)")
    for told in tell_attributes(run):
        table.add_row(told.attribute, *map(_shown, (told.trained, told.untrained, told.energy)))
    Console(width=150).print(table)
    table = Table(
        "pictures", "detector", "detection", "localisation", title=f"{run}: areas under ROC curves, chance 0.5"
    )
    for found in measure_splices(run, size=size):
        table.add_row(found.condition, found.detector, _shown(found.detection), _shown(found.localisation))
    Console(width=150).print(table)


def _shown(score: Score) -> str:
    low, high = score.ci95_bootstrap
    return f"{score.value:.3f} ({low:.3f} to {high:.3f})"


def batches(dataset: ClipDataset, method: torch.nn.Module, epoch: int, size: int) -> list[Clips]:
    """Read each video of a data set once, in batches."""
    mean, std = map(torch.tensor, statistics(method.encoder))
    rows = [range(first, min(first + size, len(dataset))) for first in range(0, len(dataset), size)]
    return [collate([dataset[epoch, row] for row in part])[0].normalised(mean, std) for part in rows]


def patches(
    method: TrackedPatches, untrained: TrackedPatches, training: ClipDataset, held_out: ClipDataset, *sizes: int
) -> Figures:
    """How often the tracked patch is the nearest of the batch's, over the videos in which something was tracked."""
    rounds, batch = sizes
    found: dict[str, list[NDArray[np.float64]]] = {}
    for clips in (part for epoch in range(rounds) for part in batches(held_out, method, epoch, batch)):
        pairs, known = method.patches(clips)
        assert clips.target is not None
        video = torch.arange(len(clips)).repeat_interleave(clips.video.shape[1])
        rim, middle = hidden(pairs)

        def apart(network: TrackedPatches, shown: Tensor) -> Tensor:
            vectors = network.embed(shown)
            return 1 - vectors[:, 0] @ vectors[:, 1].T

        distances = {
            "trained": apart(method, pairs),
            "trained, only the rim of the patches": apart(method, rim),
            "trained, only their middle": apart(method, middle),
            "untrained": apart(untrained, pairs),
            "colour histogram": patch_colours(clips.denormalise(pairs)),
            "same place": patch_places(clips.target.flatten(0, 1)),
        }
        for name, distance in distances.items():
            right, chance = nearest(distance, known, video)
            found.setdefault(name, []).append(right[known].numpy())
        found.setdefault("chance", []).append(chance[known].numpy())
    return {name: {"nearest": np.concatenate(parts).astype(float)} for name, parts in found.items()}


def hidden(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the middle half of patches, or all but it, by the mean colour."""
    size = pairs.shape[-1]
    inside = torch.zeros(size, size, dtype=torch.bool)
    inside[size // 4 : -(size // 4), size // 4 : -(size // 4)] = True
    return pairs.masked_fill(inside, 0.0), pairs.masked_fill(~inside, 0.0)


def ambient(
    world: World | None,
    method: AmbientSound,
    untrained: AmbientSound,
    training: ClipDataset,
    held_out: ClipDataset,
    *sizes: int,
) -> Figures:
    """Accuracy over clusters, of the network and of the five training frames of the most similar colours.

    Of a rendered world, also what trees make of how large the acting objects look and where they are, which is all of
    a still that its sound depends on; and of that and the action, which a still shows in part.
    """
    rounds, batch = sizes

    def read(dataset: ClipDataset) -> tuple[Tensor, Tensor, Tensor, Array]:
        colours, labels, answers, times = [], [], [], []
        for clips in (part for epoch in range(rounds) for part in batches(dataset, method, epoch, batch)):
            frames = clips.video.flatten(0, 1)
            colours.append(histograms(clips.rgb.flatten(0, 2)))
            labels.append(method.targets(method.statistics(clips)))
            answers.append(method.head(method.encoder(frames)))
            times.append(clips.times.flatten())
        known = np.zeros((0, 0)) if world is None else acting(world, dataset, torch.cat(times).tolist())
        return torch.cat(colours), torch.cat(labels), torch.cat(answers), known

    colours, labels, _, known = read(training)
    shown, true, answers, asked = read(held_out)
    near = torch.minimum(shown[:, None], colours[None]).sum(2).topk(5, dim=1).indices  # [M, 5]
    votes = F.one_hot(labels[near], answers.shape[1]).sum(1)
    common = torch.bincount(labels, minlength=answers.shape[1]).argmax()
    right = {
        "trained": answers.argmax(1) == true,
        "5 nearest by colour": votes.argmax(1) == true,
        "commonest cluster in training": common == true,
    }
    if world is not None:
        for name, columns in (("sizes and places known", slice(6)), ("these and the action known", slice(None))):
            trees = ExtraTreesClassifier(500, min_samples_leaf=5, random_state=0).fit(known[:, columns], labels)
            right[name] = torch.from_numpy(trees.predict(asked[:, columns])) == true
    videos = len(held_out)
    return {name: {"accuracy": hits.double().view(rounds, videos).mean(0).numpy()} for name, hits in right.items()}


def acting(world: World, dataset: ClipDataset, times: Sequence[float]) -> Array:
    """Return what is true of rendered stills, one of each video in turn, at ``[M]`` seconds: ``[M, 6 + classes]``.

    The circles around the two acting objects in pixels, then one for the action and zeros for the others.
    """
    numbers = {world.path(number): number for number in range(world.videos)}
    videos = [dataset.videos[int(row)] for row in dataset.kept]
    scenes = [Scene(world, numbers["/".join(Path(video.path).parts[-2:])]) for video in videos]
    actions = np.eye(len(CLASSES))
    rows = [
        (scene.circles(time).ravel(), actions[scene.label]) for scene, time in zip(cycle(scenes), times, strict=False)
    ]
    return np.stack([np.concatenate(row) for row in rows])


def histograms(rgb: Tensor, bins: int = 4) -> Tensor:
    """Return shares of colours ``[M, bins^3]`` of pictures ``[M, 3, H, W]`` in [0, 1]."""
    levels = (rgb * bins).floor().clamp(0, bins - 1).long()
    place = (levels[:, 0] * bins + levels[:, 1]) * bins + levels[:, 2]
    return F.one_hot(place.flatten(1), bins**3).float().mean(1)


def spatial(
    method: SpatialAudio, untrained: SpatialAudio, training: ClipDataset, held_out: ClipDataset, *sizes: int
) -> Figures:
    """Errors of the spectra and of the envelopes relative to silence, angle and moved energy in degrees."""
    rounds, batch = sizes
    gain = fitted(method, training, batch)
    ways = ambisonics.spread(POINTS)
    sums: dict[str, list[Tensor]] = {}
    for epoch in range(rounds):
        rows: dict[str, list[Tensor]] = {}
        for clips in batches(held_out, method, epoch, batch):
            sound = method.sounds(clips).flatten(0, 1)
            video = clips.video.flatten(0, 1)
            own = method.predict(video, sound)
            heard, true = own.heard, own.heard[:, 1:]
            answers = {
                "trained": own.channels,
                "trained, pictures of another video": method.predict(video.roll(1, 0), sound).channels,
                "untrained": untrained.predict(video, sound).channels,
                "motion energy": by_motion(clips, heard, gain),
                "all from ahead": heard[:, :1] * torch.tensor([0.0, 0.0, 1.0])[:, None, None],
                "nothing": 0 * true,
            }
            loud = ambisonics.loud(heard)
            flow = ambisonics.intensity(heard)
            power = ambisonics.energies(heard, ways)
            for name, channels in answers.items():
                mine = torch.cat([heard[:, :1], channels], 1)
                away = ambisonics.angles(ambisonics.intensity(mine), flow)
                waves = [ambisonics.samples(part, sound.shape[-1], method.rate) for part in (channels, true)]
                moved = [
                    earth_mover(a, b) for a, b in zip(*_numbers(ambisonics.energies(mine, ways), power), strict=True)
                ]
                values = [
                    (channels - true).abs().square().sum((1, 2, 3))
                    / true.abs().square().sum((1, 2, 3)).clamp(min=1e-9),
                    ambisonics.envelope_error(*waves),
                    (away * loud).sum(1) / loud.sum(1).clamp(min=1),
                    torch.tensor(moved),
                ]
                rows.setdefault(name, []).append(torch.stack([value.float() for value in values], 1))
        for name, parts in rows.items():
            sums.setdefault(name, []).append(torch.cat(parts))
    names = ("STFT error", "envelope error", "angle", "energy moved")
    means = {name: torch.stack(parts).mean(0).double().numpy() for name, parts in sums.items()}  # [V, 4]
    return {name: dict(zip(names, values.T, strict=True)) for name, values in means.items()}


def _numbers(*shares: Tensor) -> list[NDArray[np.float64]]:
    return [share.double().numpy() for share in shares]


def by_motion(clips: Clips, heard: Tensor, gain: float) -> Tensor:
    """Let all sound come from where the picture changes: ``[M, 3, F, T]``."""
    rgb = clips.rgb.flatten(0, 1)  # [M, t, 3, H, W]
    change = rgb.diff(dim=1).square().sum(2)
    change = torch.cat([change, change[:, -1:]], 1)  # [M, t, H, W]
    change = (change - 4 * change.flatten(2).median(2).values[..., None, None]).clamp(min=0)
    ways = ambisonics.rays(*change.shape[2:])
    mean = torch.einsum("mthw,chw->mct", change, ways) / change.sum((2, 3)).clamp(min=1e-6)[:, None]
    return gain * F.interpolate(mean, size=heard.shape[-1], mode="linear")[:, :, None] * heard[:, :1]


def fitted(method: SpatialAudio, training: ClipDataset, batch: int) -> float:
    """Return the gain of motion energy with the least error on training videos."""
    above, below = 0.0, 0.0
    for clips in batches(replaced(training, 64), method, 0, batch):
        heard = ambisonics.spectra(method.sounds(clips).flatten(0, 1), method.rate)
        mine = by_motion(clips, heard, 1.0)
        above += float((mine.conj() * heard[:, 1:]).real.sum())
        below += float(mine.abs().square().sum())
    return above / below


def replaced(dataset: ClipDataset, videos: int) -> ClipDataset:
    """Return a data set of the first videos of another."""
    fewer = copy.copy(dataset)
    fewer.kept = dataset.kept[:videos]
    return fewer


if __name__ == "__main__":
    auto_cli(main)
