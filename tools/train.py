"""Train an encoder on unlabelled videos: python tools/train.py configs/shuffle_learn.yaml [--key.sub=value ...]."""

import sys

from avssl.training import run

if __name__ == "__main__":
    run(sys.argv[1:])
