"""The training loader on a folder: videos per second without and with workers, and the memory of a worker.

python benchmarks/loader.py ../shared/data/ut_interaction [--sound] [--batches 30]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import psutil
import torch

from avssl.catalog.index import open_manifest
from avssl.data.dataset import ClipDataset
from avssl.data.loader import ClipLoader, Steps
from avssl.data.samplers import RandomClips
from avssl.data.transforms import Augment

BATCH = 16


def measure(dataset: ClipDataset, workers: int, batches: int) -> tuple[float, list[float]]:
    """Return videos per second after the first batches, and the megabytes that each worker does not share."""
    running = iter(ClipLoader(dataset, Steps(len(dataset), BATCH, batches + 4), workers))
    for _ in range(4):  # workers start, and fill their queues
        next(running)
    began = time.perf_counter()
    for _ in range(batches):
        next(running)
    seconds = time.perf_counter() - began
    own = [psutil.Process(child.pid).memory_full_info().uss / 1e6 for child in multiprocessing.active_children()]
    return batches * BATCH / seconds, own


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of videos or a manifest")
    parser.add_argument("--sound", action="store_true", help="read the sound of each clip as well")
    parser.add_argument("--batches", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = ClipDataset(open_manifest(options.root), RandomClips(1, 16, 0.04, audio=options.sound), Augment(112))
    print(f"{len(dataset)} videos, clips of 16 frames at 112 x 112, batches of {BATCH}")
    print("| workers | videos per second | unshared MB per worker |\n|---|---|---|")
    for workers in (0, 1, 2):
        speed, own = measure(dataset, workers, options.batches)
        print(f"| {workers} | {speed:.0f} | {', '.join(f'{size:.0f}' for size in own)} |")


if __name__ == "__main__":
    main()
