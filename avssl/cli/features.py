"""``avssl features``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avssl.evaluation import config
from avssl.evaluation.saving import save_features
from avssl.runtime.parser import Parser


def parser() -> Parser:
    """Return the parser of ``avssl features``."""
    made = config.parser(
        "Write an encoder's features of all videos of a collection, labelled or not, to files for other programs. "
        "CONFIG says which videos (data.root) and which clips of them (views); nothing is trained.",
        "avssl features",
        [
            "avssl features folder --data.root=VIDEOS --run=runs/simclr -o features/",
            "avssl features folder --data.root=VIDEOS --run=runs/simclr -o features.parquet --views.clips=1",
            "avssl features folder --data.root=VIDEOS --run=runs/videomae -o layers.npy --layers=2,5,8,11 --grid=4,2,2",
            "torchrun --nproc_per_node=8 -m -- avssl features kinetics --run=runs/simclr -o kinetics.npy",
        ],
    )
    made.add_argument(
        "-o", "--output", type=Path, required=True, help="a folder, or a file that ends in .npy or .parquet"
    )
    made.add_argument(
        "--grid",
        type=tuple[int, int, int] | None,
        default=None,
        help="average maps on a grid of cells in time, height and width, not everywhere: 4,2,2",
    )
    return made


def run(words: Sequence[str]) -> None:
    """Extract, and print the files' paths."""
    protocol, args = config.parse(parser(), words)
    reading = (args.encoder, args.own_size, args.grid, protocol.layers)
    for path in save_features(protocol, args.run, args.output, args.machine, *reading):
        print(path)
