"""Pieces of videos that a classifier labels: read and classified together, in other processes that may die."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avssl.evaluation.classifier.model import VideoClassifier
from avssl.evaluation.classifier.videos import Collection, Video
from avssl.media import MediaError
from avssl.media.source import SourceError
from avssl.runtime.workers import start_worker

DEAD = "exited unexpectedly"  # in torch's words for a reader process that was killed
AHEAD = 2  # batches that torch gives to each worker beforehand


@dataclass(frozen=True)
class Piece:
    """Some windows of a video that are read together: ``count`` from the one numbered ``first``."""

    video: Video
    first: int
    count: int

    @property
    def name(self) -> str:
        """What the piece is called in the journal."""
        return f"{self.video.name}|{self.first}"


class Pieces(Dataset[list[tuple[Any, str]] | SourceError]):
    """Batches of pieces: of each the views of its windows, or their probabilities, or else what is wrong with it.

    Args:
        model: the classifier.
        collection: the videos.
        batches: pieces that are read together.
        spans: window and hop, see `avssl.evaluation.VideoClassifier.windows`.
        here: classify in this process too, as the workers of a CPU do.
    """

    def __init__(
        self,
        model: VideoClassifier,
        collection: Collection,
        batches: Sequence[Sequence[Piece]],
        spans: tuple[float | None, float | None],
        here: bool,
    ) -> None:
        self.model, self.collection, self.batches, self.spans, self.here = model, collection, batches, spans, here

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> list[tuple[Any, str]] | SourceError:
        found: list[tuple[Any, str]] = []
        for piece in self.batches[index]:
            assert piece.video.row is not None
            info = self.collection.usable[piece.video.row]
            spans = self.model.windows(info.duration, *self.spans)[piece.first : piece.first + piece.count]
            try:
                found.append((self.model.read(info, spans), ""))
            except SourceError as error:  # the bytes can't be had now: the job stops, and goes on later
                return error
            except MediaError as error:
                found.append((None, f"{error.code}: {error.why}"))
        return classify(self.model, found) if self.here else found


def classify(model: VideoClassifier, found: Sequence[tuple[Sequence[Tensor] | None, str]]) -> list[tuple[Any, str]]:
    """Classify the windows of several pieces at once: probabilities ``[N, K]`` in place of views."""
    views = [pixels for pixels, _ in found if pixels is not None]
    if not views:
        return list(found)
    every = model.probabilities([torch.cat(parts) for parts in zip(*views, strict=True)])
    rows = iter(np.split(every, np.cumsum([len(part[0]) for part in views])[:-1]))
    return [(None if pixels is None else next(rows), why) for pixels, why in found]


def pieces(
    model: VideoClassifier,
    collection: Collection,
    durations: np.ndarray,
    spans: tuple[float | None, float | None],
    most: int,
) -> Iterator[Piece]:
    """Yield the pieces of all videos, of at most ``most`` windows each."""
    for video in collection.videos:
        if video.row is None:
            yield Piece(video, 0, 1)
            continue
        count = len(model.windows(float(durations[video.row]), *spans))
        for number in range(math.ceil(count / most)):
            yield Piece(video, number * most, min(most, count - number * most))


def batched(every: Sequence[Piece], most: int) -> Iterator[list[Piece]]:
    """Put pieces together that follow each other, up to ``most`` windows."""
    batch: list[Piece] = []
    for piece in every:
        if batch and sum(each.count for each in batch) + piece.count > most:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def stream(
    model: VideoClassifier,
    collection: Collection,
    batches: Sequence[Sequence[Piece]],
    spans: tuple[float | None, float | None],
) -> Iterator[tuple[Any, str]]:
    """Yield the probabilities of each piece or what is wrong with it, also where it kills the process that reads it."""
    here, workers = model.machine.target.type == "cpu", model.machine.workers

    def answers(some: Sequence[Sequence[Piece]], count: int) -> Iterator[list[tuple[Any, str]]]:
        pieces = Pieces(model, collection, some, spans, here)
        count = min(count, len(some))
        for found in DataLoader(pieces, batch_size=None, num_workers=count, worker_init_fn=start_worker):
            if isinstance(found, SourceError):
                raise found
            yield found if here else classify(model, found)

    while batches:
        done = 0
        try:
            for found in answers(batches, workers):
                done += 1
                yield from found
            return
        except RuntimeError as error:
            if DEAD not in str(error):
                raise
        doubtful = batches[done : done + AHEAD * workers]  # one of these killed its worker
        batches = batches[done + len(doubtful) :]
        for piece in (piece for batch in doubtful for piece in batch):
            try:
                yield from [one for found in answers([[piece]], 1) for one in found]
            except RuntimeError as error:
                if DEAD not in str(error):
                    raise
                yield None, "crashed: the process that read it died"
