"""Call ``avssl index``: python tools/index.py VIDEOS -o videos.parquet."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["index", *sys.argv[1:]]))
