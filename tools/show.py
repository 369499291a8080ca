"""Draw what a method sees, and what a trained run says of it.

python tools/show.py configs/shuffle_learn.yaml -o sheet.png [--run runs/shuffle_learn] [--key.sub=value ...]
"""

import argparse
from pathlib import Path

from avssl.training.sheet import show

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the picture to write")
    parser.add_argument("--videos", type=int, default=4, help="how many videos to draw")
    parser.add_argument("--run", type=Path, help="a run of the config: draw held-out videos and what its network says")
    parser.add_argument("config", help="a config of tools/train.py; its overrides may follow")
    known, overrides = parser.parse_known_args()
    print(show([known.config, *overrides], known.out, known.videos, known.run))
