"""Call ``avssl export``: python tools/export.py runs/shuffle_learn -o encoder."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
