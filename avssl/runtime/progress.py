"""How far a long job is: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0


class Tally:
    """Counts outcomes and shows them on standard error, with the time that is left.

    Args:
        title: what is being done.
        total: number of items.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.counts: Counter[str] = Counter()
        self._started = self._spoken = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[counts]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, counts="")

    def add(self, outcome: str) -> None:
        """Count one more item."""
        self.counts[outcome] += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, counts=self._words())
        elif time.monotonic() - self._spoken > SECONDS_BETWEEN_LINES:
            self._spoken = time.monotonic()
            done = self.counts.total()
            left = (self._spoken - self._started) / done * (self.total - done)
            print(f"{self.title}: {done}/{self.total}, {self._words()}, {left:.0f} s left", file=sys.stderr, flush=True)

    def _words(self) -> str:
        return " ".join(f"{outcome} {count}" for outcome, count in sorted(self.counts.items()))

    def __enter__(self) -> Tally:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
