"""What is to be measured of a large collection, one file at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from avssl.catalog.asked import AskedRows
from avssl.catalog.compact import Ints
from avssl.catalog.found import Files
from avssl.catalog.measuring import Hashing, Row, Span
from avssl.media.places import Place
from avssl.media.source import Source

Measure = Callable[[Path | Source, bool, Sequence[Span], Hashing], list[Row]]


class Job(NamedTuple):
    """One file to measure."""

    measure: Measure
    place: Path | Source
    motion: bool
    spans: Sequence[Span]
    hashing: Hashing


class Jobs(Sequence[Job]):
    """The files to measure, each made when it is asked for."""

    def __init__(
        self,
        measure: Measure,
        folder: Path | Place,
        motion: bool,
        hashing: Hashing,
        files: Files,
        asked: AskedRows,
        todo: Ints,
    ) -> None:
        self._how, self._folder, self._hashing = (measure, motion), folder, hashing
        self._files, self._todo = files, todo
        self._bounds, self._ends = asked.bounds(), np.cumsum(asked.counts)
        self._starts = self._ends - asked.counts

    def __len__(self) -> int:
        return len(self._todo)

    @overload
    def __getitem__(self, number: int) -> Job: ...
    @overload
    def __getitem__(self, number: slice) -> list[Job]: ...
    def __getitem__(self, number: int | slice) -> Job | list[Job]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        measure, motion = self._how
        file = self._files[int(self._todo[number])]
        return Job(measure, file.place(self._folder), motion, self.spans(number), self._hashing)

    def spans(self, number: int) -> list[Span]:
        """Return the different segments that are asked of a file."""
        place = int(self._todo[number])
        some = slice(self._starts[place], self._ends[place])
        starts, stops = (each[some].tolist() for each in self._bounds)
        return list(dict.fromkeys(_span(start, stop) for start, stop in zip(starts, stops, strict=True)))


def _span(start: float, stop: float) -> Span:
    """Return seconds of which -inf means none."""
    if start == stop == -np.inf:
        return None
    return None if start == -np.inf else start, None if stop == -np.inf else stop
