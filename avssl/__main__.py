"""Run the ``avssl`` command: ``python -m avssl``."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    sys.exit(main())
