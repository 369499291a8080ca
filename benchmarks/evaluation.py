"""Feature extraction: its speed beside decoding alone, by several processes, and its memory for many videos.

    python benchmarks/evaluation.py speed ../shared/data/ut_interaction
    python benchmarks/evaluation.py processes ../shared/data/ut_interaction
    python benchmarks/evaluation.py memory

Decoding alone reads the same views through the same workers and discards them, in turns with extraction.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import psutil
import torch
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import R3D, S3D, Encoder, ResNet
from avssl.evaluation import extraction
from avssl.evaluation.features import VIEWS_AT_ONCE, ViewDataset, Views, stream_features
from avssl.evaluation.readout import Bank, at_rows
from avssl.evaluation.store import Shards
from avssl.pixels import MEAN, STD
from avssl.runtime.device import Machine
from avssl.runtime.processes import barrier, joined, rank

VIEWS = Views(clips=5, num_frames=8, step=0.2, size=64)


def speed(
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


def extract(root: Path, cache: Path, workers: int = 1) -> None:
    """Extract the features of a collection in the processes of ``torchrun``, and print the seconds it took.

    Args:
        root: folder of videos or manifest.
        cache: folder of the features.
        workers: decoders per process.
    """
    torch.manual_seed(0)
    encoder = R3D(8).eval()
    encoder.card = {"mean": MEAN, "std": STD}
    videos = open_manifest(root)
    with joined():
        barrier("the preparations")
        begun = time.perf_counter()
        extraction.extract_features(encoder, videos, range(len(videos)), VIEWS, Machine(workers=workers, cache=cache))
        if rank() == 0:
            print(json.dumps({"videos": len(videos), "seconds": time.perf_counter() - begun}))


def processes(root: Path, rounds: int = 3) -> None:
    """Print videos per second of one process and of two by ``torchrun``, and whether their features are equal.

    Args:
        root: folder of videos or manifest.
        rounds: measurements of each, in turns.
    """
    table = Table("processes", "decoders of each", "videos/s (median)", "least", "most", title=f"R3D(width=8), {VIEWS}")
    kinds = ((1, 1), (2, 1), (1, 2))
    speeds: dict[tuple[int, int], list[float]] = {kind: [] for kind in kinds}
    found: dict[tuple[int, int], bytes] = {}
    for _ in range(rounds):
        for count, workers in kinds:
            with tempfile.TemporaryDirectory() as cache:
                launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}"]
                words = [__file__, "extract", str(root), cache, f"--workers={workers}"]
                done = subprocess.run([*launcher, *words], check=True, capture_output=True, text=True)
                told = json.loads(done.stdout.strip().splitlines()[-1])
                shards = sorted(Path(cache).glob("features/*/*.npy"))
                found[count, workers] = b"".join(path.read_bytes() for path in shards)
            speeds[count, workers].append(told["videos"] / told["seconds"])
    for (count, workers), rates in speeds.items():
        table.add_row(str(count), str(workers), f"{median(rates):.1f}", f"{min(rates):.1f}", f"{max(rates):.1f}")
    Console().print(table)
    print("features are equal, bit for bit:", len(set(found.values())) == 1)


class Wide(Encoder):
    """An encoder of 768 features whose forward pass costs nothing."""

    def __init__(self) -> None:
        super().__init__(768, {})

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return zeros ``[B, 768]``."""
        return clips.new_zeros(len(clips), 768)


def fill(videos: int, cache: Path) -> None:
    """Extract made-up features of many videos, read them in several ways, and print the time and the largest memory.

    Args:
        videos: number of videos, of 5 views with 768 features.
        cache: folder of the features.
    """
    encoder = Wide()
    encoder.card = {"mean": MEAN, "std": STD}
    facts = {"root": "/v", "status": "ok", "duration": 1.0}
    listed = Manifest.from_rows({**facts, "path": f"{row}.mp4", "content": str(row)} for row in range(videos))
    before = psutil.Process().memory_info().rss
    begun = time.perf_counter()

    def invented(*given: object) -> Iterator[torch.Tensor]:
        rows = given[2]
        assert isinstance(rows, list)
        for row in rows:
            yield torch.full((5, 768), row % 1000 / 10) + torch.arange(768) / 1000

    with patch.object(extraction, "stream_features", invented):
        found = extraction.extract_features(encoder, listed, range(videos), VIEWS, Machine(cache=cache))
    assert isinstance(found, Shards)
    bank = Bank(at_rows(found, range(videos), videos), np.zeros(videos, int), np.zeros(videos, int), 2).over_time(256)
    assert isinstance(bank.features, Shards)
    written = time.perf_counter() - begun
    total = sum(float(block.sum(dtype=np.float64)) for _, block in bank.features.blocks())
    read = time.perf_counter() - begun - written
    rows = np.random.default_rng(0).permutation(videos)[:4096]
    bank.features[rows]
    gathered = time.perf_counter() - begun - written - read
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) * 1024
    told = {"before": before / 1e6, "peak": peak / 1e6, "write": written, "read": read, "gather": gathered}
    print(json.dumps({**told, "sum": total, "disk": sum(path.stat().st_size for path in cache.rglob("*.npy")) / 1e9}))


def memory(counts: tuple[int, ...] = (100_000, 200_000)) -> None:
    """Print the largest memory of extracting and reading features that would need 1.5 and 3.1 GB as float32.

    Args:
        counts: numbers of videos, of 5 views with 768 features.
    """
    names = ("videos", "GB on disk", "MB before", "MB at most", "s to write", "s to read", "s to gather 4096")
    table = Table(*names)
    for count in counts:
        with tempfile.TemporaryDirectory() as cache:
            words = [sys.executable, __file__, "fill", str(count), cache]
            told = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        cells = [told[name] for name in ("disk", "before", "peak", "write", "read", "gather")]
        table.add_row(f"{count:,}", *(f"{value:.2f}" for value in cells))
    Console().print(table)


if __name__ == "__main__":
    auto_cli([speed, processes, memory, extract, fill])
