"""One builder at a time in a dataset's folder, and what killed ones left there."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

from avssl.runtime.locks import InUse, only_user

OWN = (".work", "clips", "crops", "shards", "huggingface", "lmdb")  # folders that only builders write to
SHARES = "shares"  # folder of the locks of the shares of a job array
_PATIENCE = 5.0  # seconds for which shares that start together wait for one another


@contextlib.contextmanager
def sole_builder(work: Path, share: tuple[int, int] | None) -> Iterator[None]:
    """Keep other builders out of a dataset's folder; shares of one job array work side by side.

    Raises:
        InUse: if another process builds there, or does the same share; says which, and since when.
    """
    with contextlib.ExitStack() as held:
        if share is None:
            held.enter_context(only_user(work))
            for folder in sorted((work / SHARES).glob("*")):
                held.enter_context(only_user(folder))
        else:
            held.enter_context(only_user(work / SHARES / "{}-of-{}".format(*share)))
            _without_whole_build(work)
        yield


def _without_whole_build(work: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with only_user(work):
                return
        except InUse:  # by another share that looks, or by a build of all
            if time.monotonic() > end:
                raise
            time.sleep(random.uniform(0.02, 0.2))


def clean(out: Path) -> None:
    """Delete the half-written files of builders that were killed. No other may be at work."""
    for folder in OWN:
        for path in [*(out / folder).rglob(".*.partial")]:
            path.unlink(missing_ok=True)
    for path in out.glob(".*.partial"):
        path.unlink(missing_ok=True)
