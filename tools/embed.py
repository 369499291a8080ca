"""Call ``avssl embed``: python tools/embed.py configs/eval/ut_interaction.yaml --run=runs/shuffle_learn."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["embed", *sys.argv[1:]]))
