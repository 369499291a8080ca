"""Call ``avssl images``: python tools/evaluate_images.py stages TRAIN TEST --run=runs/rotnet."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["images", *sys.argv[1:]]))
