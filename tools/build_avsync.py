"""Call ``avssl build``: python tools/build_avsync.py RECORDINGS -o dataset."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["build", *sys.argv[1:]]))
