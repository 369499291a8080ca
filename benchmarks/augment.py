"""Cost of augmenting a clip on one thread: our colour jitter against torchvision's, and the whole of `Augment`.

python benchmarks/augment.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from jsonargparse import auto_cli
from torch import Tensor
from torchvision.transforms import v2

from avssl.data.transforms import Augment, ColourJitter


def main(frames: int = 8, size: int = 56, rounds: int = 200) -> None:
    """Print milliseconds per clip.

    Args:
        frames: number of frames per clip.
        size: height and width in pixels.
        rounds: measurements of each, interleaved.
    """
    torch.set_num_threads(1)
    clip = torch.randint(0, 256, (frames, 3, size, size), dtype=torch.uint8)
    rivals: dict[str, Callable[[Tensor], Tensor]] = {
        "colour jitter, ours": ColourJitter(0.5),
        "colour jitter, torchvision": v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "all of Augment, as SimCLR has it": Augment(size, scale=(0.3, 1.0), jitter=0.8, grey=0.2),
        "all of Augment without jitter": Augment(size, scale=(0.3, 1.0), grey=0.2),
    }
    spent: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(rounds + 5):
        for name, transform in rivals.items():
            begun = time.perf_counter()
            transform(clip)
            if turn >= 5:
                spent[name].append(1000 * (time.perf_counter() - begun))
    for name, times in spent.items():
        print(f"{name:34} {median(times):.2f} ms")


if __name__ == "__main__":
    auto_cli(main)
