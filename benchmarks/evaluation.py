"""Feature extraction against decoding alone: videos per second over the same clips, measured in turns.

    python benchmarks/evaluation.py ../shared/data/ut_interaction

Decoding alone reads the same views through the same workers and discards them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.encoders import R3D, S3D, Encoder, ResNet
from avssl.evaluation.features import VIEWS_AT_ONCE, ViewDataset, Views, stream_features
from avssl.pixels import MEAN, STD
from avssl.runtime.device import Machine


def main(
    root: Path, rounds: int = 5, workers: int = 2, clips: int = 5, frames: int = 8, step: float = 0.2, size: int = 64
) -> None:
    """Print videos per second of decoding and of extraction for small encoders.

    Args:
        root: folder of videos or manifest.
        rounds: measurements of each, interleaved.
        workers: processes that decode.
        clips: clips per video.
        frames: frames per clip.
        step: seconds between two frames.
        size: height and width of a view.
    """
    videos = open_manifest(root)
    rows = range(len(videos))
    views, machine = Views(clips=clips, num_frames=frames, step=step, size=size), Machine(workers=workers)
    encoders: dict[str, Encoder] = {
        "R3D(width=8)": R3D(8),
        "R3D(width=16)": R3D(16),
        "S3D(width=16)": S3D(16),
        "ResNet(18, width=16)": ResNet(18, 16),
        "ResNet(18, width=8)": ResNet(18, 8),
    }
    jobs: dict[str, Callable[[], Iterable[torch.Tensor]]] = {
        "decoding alone": lambda: machine.loader(ViewDataset(videos, rows, views), max(1, VIEWS_AT_ONCE // views.count))
    }
    for name, encoder in encoders.items():
        encoder.card = {"mean": MEAN, "std": STD}
        jobs[name] = lambda encoder=encoder: stream_features(encoder, videos, rows, views, machine)  # type: ignore[misc]
    speed: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 1):  # the first turn warms up
        for name, job in jobs.items():
            begun = time.perf_counter()
            for _ in job():
                pass
            if turn:
                speed[name].append(len(videos) / (time.perf_counter() - begun))
    table = Table("", "videos/s (median)", "least", "most", "share of decoding", title=f"{views}, {workers} workers")
    for name, rates in speed.items():
        share = median(a / b for a, b in zip(rates, speed["decoding alone"], strict=True))
        table.add_row(name, f"{median(rates):.1f}", f"{min(rates):.1f}", f"{max(rates):.1f}", f"{share:.2f}")
    Console().print(table)


if __name__ == "__main__":
    auto_cli(main)
