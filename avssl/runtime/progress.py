"""Progress of long jobs: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Tally:
    """Count outcomes and show them on standard error, with the items per second and the time left.

    Args:
        title: name of the job.
        total: number of items.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.counts: Counter[str] = Counter()
        self._started = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            times = TimeElapsedColumn(), TimeRemainingColumn()
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times
            self._bar = Progress(*columns, TextColumn("{task.fields[counts]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(title, total=total, counts="")

    def add(self, outcome: str) -> None:
        """Count one more item."""
        self.counts[outcome] += 1
        done, now = self.counts.total(), time.monotonic()
        each = (now - self._started) / done  # seconds
        counts = " ".join(f"{outcome} {count}" for outcome, count in sorted(self.counts.items()))
        words = f"{counts}, {1 / max(each, 1e-9):.3g}/s"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, counts=words)
        elif now - self._printed > SECONDS_BETWEEN_LINES:
            self._printed = now
            left = each * (self.total - done)
            print(f"{self.title}: {done}/{self.total}, {words}, {left:.0f} s left", file=sys.stderr, flush=True)

    def __enter__(self) -> Tally:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
