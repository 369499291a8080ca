"""The training loader on a folder: videos per second without and with workers, and the memory of a worker.

python benchmarks/loader.py ../shared/data/ut_interaction [--sound] [--batches 30]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import psutil
import torch

from avssl.catalog.index import open_manifest
from avssl.data.dataset import ClipDataset, collate
from avssl.data.loader import ClipLoader, Steps
from avssl.data.randaugment import RandAugment
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


def augmentation(root: Path, batches: int) -> None:
    """Print the table of both ways to augment, for SimCLR's transform and for fine-tuning's."""
    videos = open_manifest(root)
    transforms = {
        "SimCLR": Augment(112, scale=(0.3, 1.0), jitter=0.8, grey=0.2, blur=0.5),
        "fine-tuning": Augment(112, scale=(0.08, 1.0), rand_augment=RandAugment(), erase=0.25),
    }
    print(
        "| transform | in workers | a batch at once | ratio | workers' part alone | ratio |\n|---|---|---|---|---|---|"
    )
    for name, transform in transforms.items():
        whole, halves = (ClipDataset(videos, RandomClips(1, 16, 0.04), transform, finish=do) for do in (True, False))
        spent: dict[str, list[float]] = {"workers": [], "device": [], "begun": []}
        for items in Steps(len(videos), BATCH, batches + 1):
            began = time.process_time()
            collate([whole[item] for item in items])
            spent["workers"].append(time.process_time() - began)
            began = time.process_time()
            clips = collate([halves[item] for item in items])[0]
            spent["begun"].append(time.process_time() - began)
            transform.finish(clips.video, clips.drawn)
            spent["device"].append(time.process_time() - began)
        workers, device, begun = (BATCH / statistics.median(times[1:]) for times in spent.values())
        print(
            f"| {name} | {workers:.0f} | {device:.0f} | {device / workers:.2f} | {begun:.0f} | {begun / workers:.2f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a folder of videos or a manifest")
    parser.add_argument("--sound", action="store_true", help="read the sound of each clip as well")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--augment", action="store_true", help="compare data.augment=workers and device")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.augment:
        augmentation(options.root, options.batches)
        return
    dataset = ClipDataset(open_manifest(options.root), RandomClips(1, 16, 0.04, audio=options.sound), Augment(112))
    print(f"{len(dataset)} videos, clips of 16 frames at 112 x 112, batches of {BATCH}")
    print("| workers | videos per second | unshared MB per worker |\n|---|---|---|")
    for workers in (0, 1, 2):
        speed, own = measure(dataset, workers, options.batches)
        print(f"| {workers} | {speed:.0f} | {', '.join(f'{size:.0f}' for size in own)} |")


if __name__ == "__main__":
    main()
