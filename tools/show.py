"""Call ``avssl show``: python tools/show.py configs/shuffle_learn.yaml -o sheet.png."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["show", *sys.argv[1:]]))
