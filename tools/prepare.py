"""Call ``avssl prepare``: python tools/prepare.py VIDEOS -o prepared."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
