"""Train an encoder on unlabelled videos: python tools/train.py configs/shuffle_learn.yaml [--key.sub=value ...]."""

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: threads that wait leave the cores to the readers

from avssl.training.config import run

if __name__ == "__main__":
    run(sys.argv[1:])
