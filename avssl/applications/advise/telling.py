"""What an advice tells while it works: which stage runs, what leads, what time is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from avssl.applications.advise.store import Clock

BETWEEN_LINES = 10.0  # seconds, where there is no terminal


class Teller:
    """Lines on standard error for the stages, and a bar for the training that runs.

    Attributes:
        leads: what leads so far, in words.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock, self.leads = clock, ""
        self._said = 0.0

    def say(self, text: str) -> None:
        """Print a line with the time spent and what leads."""
        leads = f"; {self.leads} leads" if self.leads else ""
        print(f"[{self._time()}] {text}{leads}", file=sys.stderr, flush=True)

    def _time(self) -> str:
        return f"{self.clock.spent / 60:.1f} of {self.clock.budget / 60:g} min"

    @contextmanager
    def training(self, title: str, length: int) -> Iterator[Training]:
        """Show a training of ``length`` steps."""
        self.say(title)
        if not sys.stderr.isatty():
            yield Training(self, title, length, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
        )
        with Progress(*columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True), transient=True) as bar:
            yield Training(self, title, length, bar)


class Training:
    """A training as it is shown."""

    def __init__(self, teller: Teller, title: str, length: int, bar: Progress | None) -> None:
        self.teller, self.title, self.length, self.bar = teller, title, length, bar
        self.task = None if bar is None else bar.add_task(title, total=length, told="")
        self.printed = time.monotonic()

    def __call__(self, steps: int) -> None:
        """Show the steps done."""
        teller = self.teller
        leads = f"; {teller.leads} leads" if teller.leads else ""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=steps, told=f"{teller._time()}{leads}")
        elif time.monotonic() - self.printed > BETWEEN_LINES:
            self.printed = time.monotonic()
            teller.say(f"{self.title}: step {steps} of {self.length}")
