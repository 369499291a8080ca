"""Call ``avssl synchrony`` or ``avssl audio``: python tools/evaluate_av.py sync|audio ROOT --run=runs/syncnet."""

import sys

from avssl.cli import main

if __name__ == "__main__":
    commands = ["synchrony" if word == "sync" else word for word in sys.argv[1:2]]
    sys.exit(main([*commands, *sys.argv[2:]]))
