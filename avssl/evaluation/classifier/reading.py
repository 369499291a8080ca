"""Features of labelled videos; those that turn out to be unreadable are refused."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.data import DataLoader, Dataset

from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.evaluation.classifier.labels import Labelled
from avssl.evaluation.classifier.shapes import Shape
from avssl.evaluation.extraction import extract_several
from avssl.evaluation.features import Views
from avssl.evaluation.reading import Grid, Reading
from avssl.evaluation.readout import Floats
from avssl.evaluation.store import Shards
from avssl.media import MediaError
from avssl.runtime.device import Machine
from avssl.runtime.workers import start_worker


def read_features(
    encoder: Encoder, found: Labelled, shapes: Mapping[str, Shape], machine: Machine
) -> tuple[dict[str, Floats | Shards], Labelled]:
    """Return the features ``[V, M, N]`` of each shape by name; videos that turn out to be unreadable are refused."""
    rows = range(len(found.videos))
    try:
        read: dict[tuple[Views, Grid | None], Floats | Shards] = {}
        for views in dict.fromkeys(shape.views for shape in shapes.values()):
            grids = list(dict.fromkeys(shape.grid for shape in shapes.values() if shape.views == views))
            features = extract_several(encoder, found.videos, rows, views, machine, [Reading(grid) for grid in grids])
            read |= {(views, grid): each for grid, each in zip(grids, features, strict=True)}
        values = {name: read[shape.views, shape.grid] for name, shape in shapes.items()}
    except (MediaError, RuntimeError) as error:  # an error in a worker comes as torch's RuntimeError
        if not isinstance(error, MediaError) and "MediaError" not in str(error):
            raise
        bad: dict[int, str] = {}
        for views in {shape.views for shape in shapes.values()}:
            bad |= unreadable(found.videos, views, machine)
        if not bad:
            raise
        return read_features(encoder, found.without(bad), shapes, machine)
    return values, found


class Attempt(Dataset[str]):
    """What is wrong with each video when its views are read; empty for nothing."""

    def __init__(self, videos: Manifest, views: Views) -> None:
        self.videos, self.views = videos, views

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> str:
        info = self.videos[index]
        try:
            self.views.read(info, self.views.times(info))
        except MediaError as error:
            return f"{error.code}: {error.why}"
        return ""


def unreadable(videos: Manifest, views: Views, machine: Machine) -> dict[int, str]:
    """Read the views of every video; return the positions of those that can't be read, with the reason."""
    attempts = Attempt(videos, views)
    loader = DataLoader(attempts, batch_size=None, num_workers=machine.workers, worker_init_fn=start_worker)
    return {row: why for row, why in enumerate(loader) if why}
