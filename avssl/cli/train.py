"""``avssl train``."""

from __future__ import annotations

import os
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads leave the cores to the readers

from avssl.training.config import parser as parser
from avssl.training.config import train


def run(words: Sequence[str]) -> None:
    """Pretrain, or say what that would take.

    Raises:
        ValueError: if ``--videos`` isn't a number, or comes without ``--dry-run``.
    """
    rest = [word for word in words if word != "--dry-run" and not word.startswith("--videos=")]
    sizes = [word.removeprefix("--videos=") for word in words if word.startswith("--videos=")]
    if "--dry-run" not in words:
        if sizes:
            raise ValueError("--videos states the size of a collection to --dry-run; data.root gives a run its videos")
        train(rest)
        return
    from avssl.training.dryrun import dry_run

    if not all(size.isdigit() and int(size) for size in sizes):
        raise ValueError(f"--videos={sizes[-1]}: expected the number of videos of the collection")
    dry_run(rest, int(sizes[-1]) if sizes else None)
