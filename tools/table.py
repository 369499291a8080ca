"""Call ``avssl table``: python tools/table.py runs/* --protocol ut_interaction -o results.md."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main(["table", *sys.argv[1:]]))
