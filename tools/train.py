"""Call ``avssl train``: python tools/train.py configs/shuffle_learn.yaml [--key.sub=value ...]."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
