"""Pictures of an embedding: a two-dimensional map, and nearest neighbours of some videos."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from avssl.encoders import Encoder
from avssl.evaluation.classes import class_numbers
from avssl.evaluation.pictures import map_picture, neighbours_picture
from avssl.evaluation.probes import nearest_videos
from avssl.evaluation.protocol import DownstreamTask, Protocol
from avssl.evaluation.readout import Bank
from avssl.evaluation.run import subject
from avssl.evaluation.trial import video_bank
from avssl.media import open_video
from avssl.runtime.device import Machine

SHOWN = 5  # neighbours per query
PICTURE = 112  # pixels


def embed(
    protocol: Protocol,
    run: str | Path,
    folder: str | Path,
    machine: Machine,
    method: Literal["pca", "tsne"] = "tsne",
    queries: int = 2,
    encoder: Encoder | None = None,
    own_size: bool = False,
) -> list[Path]:
    """Write ``map_<method>.png`` (one dot per video) and ``neighbours.png`` (queries and their five nearest videos).

    Videos that show several classes or none share a colour of their own.
    Neighbours come from the training videos of the fold that tests the query, so never from its own group.

    Args:
        protocol: labelled videos, split and views.
        run: run folder or export folder.
        folder: output folder.
        machine: device, workers and cache.
        method: principal components, or t-SNE (van der Maaten & Hinton, JMLR 2008), which keeps neighbourhoods.
        queries: queries per class.
        encoder: an encoder instead of the run's, see `avssl.evaluation.run.evaluate`.
        own_size: show clips at the size on the encoder's card.

    Raises:
        FileNotFoundError, MediaError, ValueError: see `avssl.evaluation.run.evaluate`.
    """
    encoder, protocol = subject(protocol, run, encoder, own_size)
    task = DownstreamTask(protocol)
    values = video_bank(task, encoder, machine)
    map_file, sheet_file = Path(folder) / f"map_{method}.png", Path(folder) / "neighbours.png"
    videos = values.video_means(task.rows)  # [V, D]
    numbers = class_numbers(task.videos)[task.rows]  # -1 for several classes or none
    names = [*task.videos.classes, *(["several or none"] if task.several else [])]
    map_picture(project(videos, method), np.where(numbers < 0, task.classes, numbers).tolist(), names, map_file)
    pictures, titles = _sheet(task, values, queries)
    neighbours_picture(pictures, titles, sheet_file)
    return [map_file, sheet_file]


def project(features: NDArray[np.float32], method: Literal["pca", "tsne"]) -> NDArray[np.float32]:
    """Project L2-normalised features ``[V, D]``, V >= 3, to ``[V, 2]``; deterministic."""
    if len(features) < 3:
        raise ValueError(f"a map needs at least 3 videos, got {len(features)}")
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    with threadpool_limits(1):
        if method == "pca":
            return PCA(2, svd_solver="full").fit_transform(unit)
        perplexity = min(30.0, (len(features) - 1) / 3)
        return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)


def _sheet(task: DownstreamTask, values: Bank, queries: int) -> tuple[list[list[Tensor]], list[list[str]]]:
    left = dict.fromkeys(task.videos.classes, queries)
    shown = task.videos.column("labels").to_pylist()
    pictures, titles = [], []
    for fold in task.folds.folds:
        for query in fold.test:
            if not any(left[name] > 0 for name in shown[query]):
                continue
            for name in shown[query]:
                left[name] -= 1
            found = nearest_videos(values, [query], fold.train, SHOWN)[0].tolist()
            pictures.append([_middle(task, row) for row in (query, *found)])
            titles.append([", ".join(shown[row]) or "none" for row in (query, *found)])
    return pictures, titles


def _middle(task: DownstreamTask, row: int) -> Tensor:
    info = task.videos[row]
    size = (PICTURE, round(PICTURE * info.size[1] / info.size[0]))
    with open_video(info.path, info=info) as reader:
        return reader.frames(torch.tensor([info.duration / 2]), size=size)[0]
