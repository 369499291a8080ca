"""Call ``avssl sync``: python tools/sync.py VIDEO... --run=runs/syncnet -o sync.png."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["sync", *sys.argv[1:]]))
