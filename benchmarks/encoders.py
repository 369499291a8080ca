"""CPU time of a training step with each clip encoder, one process on one core.

    python benchmarks/encoders.py [--rounds 5]

Each encoder takes the same clips forward and backward in float32; they take turns, and medians over rounds are
compared. Widths are those of the configs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from avssl.encoders import MC3, R3D, RMC, S3D, EarlyFusion, Encoder, R2Plus1D, ResNet, ViT

WIDTH = 16
CLIPS, FRAMES, SIZE = 16, 8, 56
CONTESTANTS: dict[str, Callable[[], Encoder]] = {
    "R3D": lambda: R3D(WIDTH, differences=True),
    "RMC": lambda: RMC(WIDTH, differences=True),
    "MC3": lambda: MC3(WIDTH, differences=True),
    "R(2+1)D": lambda: R2Plus1D(WIDTH, differences=True),
    "S3D": lambda: S3D(WIDTH),
    "EarlyFusion, depth 10": lambda: EarlyFusion(WIDTH, depth=10),
    "ResNet, depth 18": lambda: ResNet(18, WIDTH),
    "ViT, width 128, depth 4, patch 8": lambda: ViT(128, 4, 8),
}


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, after one to warm up")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    clips = torch.randn(CLIPS, FRAMES, 3, SIZE, SIZE)
    encoders = {name: make().train() for name, make in CONTESTANTS.items()}
    spent: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(1 + args.rounds):
        for name, encoder in encoders.items():
            began = time.process_time()
            encoder(clips).square().mean().backward()
            spent[name].append(time.process_time() - began)
    cost = {name: statistics.median(times[1:]) / CLIPS for name, times in spent.items()}
    print(f"clips of {FRAMES} frames, {SIZE} x {SIZE} pixels, {CLIPS} per step\n")
    print("| encoder | parameters | CPU time, ms per clip | relative to R3D |\n| --- | --- | --- | --- |")
    for name, seconds in cost.items():
        count = sum(parameter.numel() for parameter in encoders[name].parameters())
        print(f"| {name} | {count / 1e6:.2f} M | {1e3 * seconds:.1f} | x {seconds / cost['R3D']:.2f} |")


if __name__ == "__main__":
    main()
