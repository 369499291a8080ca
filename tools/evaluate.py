"""Call ``avssl evaluate``: python tools/evaluate.py configs/eval/ut_interaction.yaml --run=runs/shuffle_learn."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
