"""A training in a process of its own, which stops with a checkpoint when the process that started it is gone.

``python -m avssl.applications.advise.trainee PARENT CONFIG [--key.sub=value ...]``; PARENT is that process's number.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from avssl.training import train

EVERY = 1.0  # seconds between two looks


def watch(parent: int) -> None:
    """Ask this process to stop, as `avssl.recipe.checkpoints` does it, once it has another parent."""
    while os.getppid() == parent:
        time.sleep(EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def main(words: Sequence[str]) -> None:
    """Train."""
    threading.Thread(target=watch, args=[int(words[0])], daemon=True).start()
    train(words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
