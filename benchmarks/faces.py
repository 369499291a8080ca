"""Held-out figures of CoParts on the face world, for ``systems.py``."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import NMF
from sklearn.linear_model import Ridge
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, collate
from avssl.data.transforms import Squash
from avssl.labels.faces import CODE, read_faces
from avssl.labels.recorded import shown_frames
from avssl.methods import CoParts
from avssl.methods.dense import middle_frames
from avssl.methods.temporal import co_parts
from avssl.pixels import MEAN, STD
from avssl.synthetic import TRUTH
from avssl.synthetic.face_mesh import IDENTITY, LANDMARKS, face_mesh, projected
from avssl.synthetic.face_raster import triangles_of

Array = NDArray[np.float64]
Figures = dict[str, dict[str, Array]]
EYES = [LANDMARKS.index(name) for name in LANDMARKS if "eye_" in name]  # right outer, inner, left inner, outer
SHARE = 20_000  # cells of the frames by which features are factorised


def read(dataset: ClipDataset, epoch: int, batch: int) -> list[Clips]:
    """Read each video once, whole frames, in batches."""
    rows = [range(first, min(first + batch, len(dataset))) for first in range(0, len(dataset), batch)]
    both = torch.tensor(MEAN), torch.tensor(STD)
    return [collate([dataset[epoch, row] for row in part])[0].normalised(*both) for part in rows]


def truth(dataset: ClipDataset, clips: Clips, size: int) -> tuple[Array, NDArray[np.int64]]:
    """Return landmarks ``[B, 12, 2]`` in pixels and parts ``[B, size, size]`` of the middle frames of first clips."""
    assert clips.index is not None
    marks, parts, mesh = [], [], face_mesh()
    for place, times in zip(clips.index.tolist(), clips.times[:, 0], strict=True):
        info = dataset.videos[int(dataset.kept[place])]
        middle = times[len(times) // 2 :][:1].numpy()
        row = read_faces(Path(info.path).with_suffix(TRUTH))[shown_frames(middle, info)]
        shape = mesh.shape(row[:, : len(IDENTITY)], row[:, len(IDENTITY) : CODE])
        points = projected(shape, row[:, CODE:])[0]
        points[:, :2] = (points[:, :2] + 1) * size / 2 - 0.5
        marks.append(points[mesh.landmarks, :2])
        shown = triangles_of(points, (size, size))
        parts.append(np.where(shown < 0, 0, mesh.parts[shown]))
    return np.stack(marks), np.stack(parts)


def parts(method: CoParts, untrained: CoParts, training: ClipDataset, held_out: ClipDataset, *sizes: int) -> Figures:
    """Error of landmarks regressed from the centres of parts, in eye distances, and agreement with the true parts.

    The regression (ridge) and the factors are fitted on training videos; agreement is the normalised mutual information
    over the cells of a face, per video.
    """
    rounds, batch = sizes
    side = training.transform.size
    both = [whole(dataset, side) for dataset in (training, held_out)]
    found: list[dict[str, list[Tensor]]] = [{}, {}]
    marks: list[list[Array]] = [[], []]
    true: list[NDArray[np.int64]] = []
    for number, dataset in enumerate(both):
        for clips in (part for epoch in range(rounds) for part in read(dataset, epoch, batch)):
            frames = middle_frames(clips)[:, 0]
            shares = method.shares(frames)
            answers = {
                "trained": shares,
                "untrained": untrained.shares(frames),
                "features": method.targets(frames, shares.shape[-2:]),
                "what moves": moving(clips, shares),
            }
            for name, maps in answers.items():
                found[number].setdefault(name, []).append(maps)
            here, cells = truth(dataset, clips, side)
            marks[number].append(here)
            step = side // shares.shape[-1]
            if number:
                true.append(cells[:, step // 2 :: step, step // 2 :: step])
    maps = [{name: torch.cat(parts) for name, parts in part.items()} for part in found]
    features = [part.pop("features") for part in maps]
    for part, factors in zip(maps, factorised(features, method.vectors.shape[0] + 1), strict=True):
        part["factors of the features (NMF)"] = factors
        part["trained, of another video"] = part["trained"].roll(1, 0)
        part["the mean landmarks"] = torch.ones_like(part["trained"][:, :2])
    places, cells = [np.concatenate(part) for part in marks], np.concatenate(true)
    videos, figures = len(held_out), {}
    for name in maps[1]:
        known = [summary(part[name], name) for part in maps]
        fit = Ridge(1e-3).fit(known[0], places[0].reshape(len(places[0]), -1))
        away = np.linalg.norm(fit.predict(known[1]).reshape(places[1].shape) - places[1], axis=2).mean(1)
        eyes = places[1][:, EYES]
        away /= np.linalg.norm(eyes[:, 2:].mean(1) - eyes[:, :2].mean(1), axis=1)
        labels = maps[1][name].argmax(1).numpy()
        agreed = [
            normalized_mutual_info_score(one[one > 0], other[one > 0]) for one, other in zip(cells, labels, strict=True)
        ]
        figures[name] = {
            "landmarks": away.reshape(rounds, videos).mean(0),
            "NMI": np.reshape(agreed, (rounds, videos)).mean(0),
        }
    return figures


def whole(dataset: ClipDataset, size: int) -> ClipDataset:
    """Return a data set that shows whole frames."""
    other = copy.copy(dataset)
    other.transform = Squash(size)
    return other


def moving(clips: Clips, like: Tensor) -> Tensor:
    """Return what does not move and what does, ``[M, 2, h, w]``, as shares."""
    still, known = co_parts.cell_targets(clips, like.shape[-2:])
    mask = (still & known).flatten(0, 1).float()
    return torch.stack([1 - mask, mask], 1)


def factorised(features: list[Tensor], factors: int) -> list[Tensor]:
    """Factorise features ``[M, D, h, w]`` (Collins et al., ECCV 2018), by the first: ``[M, factors, h, w]``."""
    flat = [part.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for part in features]
    chosen = np.random.default_rng(0).permutation(len(flat[0]))[:SHARE]
    made = NMF(factors, init="nndsvda", tol=1e-3, max_iter=60, random_state=0).fit(flat[0][chosen])
    shapes = [part.shape for part in features]
    maps = [torch.from_numpy(made.transform(part)).float() for part in flat]
    return [
        part.view(shape[0], *shape[2:], factors).permute(0, 3, 1, 2) for part, shape in zip(maps, shapes, strict=True)
    ]


def summary(maps: Tensor, name: str) -> Array:
    """Return what landmarks are regressed from: ``[M, numbers]``, centres of parts, and the spread of what moves."""
    full = torch.cat([torch.zeros_like(maps[:, :1]), maps], 1) if "NMF" in name else maps
    numbers = [co_parts.centres(full).flatten(1)]
    if name == "what moves":
        places = co_parts.cell_places(maps)
        weights = maps[:, 1] / maps[:, 1].sum((1, 2), keepdim=True).clamp(min=1e-6)
        square = torch.einsum("mhw,hwc->mc", weights, places.square())
        numbers.append((square - numbers[0].square()).clamp(min=0).sqrt())
    return torch.cat(numbers, 1).double().numpy()
