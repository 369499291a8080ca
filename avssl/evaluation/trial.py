"""Encoders of one network on a task: what the read-outs of a protocol are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from avssl.encoders import Encoder
from avssl.evaluation.extraction import extract_features, extract_several
from avssl.evaluation.features import parts
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.reading import Grid, Reading
from avssl.evaluation.readout import Bank, ReadOut, Source, TooFewLabels, at_rows
from avssl.evaluation.results import Outcome, Skipped
from avssl.evaluation.splits import Folds
from avssl.runtime.device import Machine


@dataclass(frozen=True)
class Trial:
    """Encoders of one network that are judged on a task, one per seed, with what their read-outs share."""

    task: DownstreamTask
    encoders: Sequence[Encoder]
    machine: Machine

    def extract(self) -> None:
        """Extract all features that the protocol's read-outs ask for, decoding the videos once per encoder.

        Processes started together share this work, so all of them must call it.
        """
        task = self.task
        readings = [Reading(), *([Reading(layers=task.protocol.layers)] if task.protocol.layers else [])]
        for encoder in self.encoders:
            extract_several(encoder, task.videos, task.rows, task.protocol.views, self.machine, readings)

    @cached_property
    def layers(self) -> list[list[Bank]]:
        """Features of each of the protocol's inner layers, one bank per encoder."""
        task, layers = self.task, self.task.protocol.layers
        every = parts(self.encoders[0], task.protocol.views, layers=layers)
        banks = [video_bank(task, encoder, self.machine, layers=layers) for encoder in self.encoders]
        return [[bank.columns(part.start, part.stop) for bank in banks] for part in every]

    @cached_property
    def segments(self) -> list[Bank]:
        """Features of the videos, one bank per encoder; a frame encoder's segments are concatenated."""
        return [video_bank(self.task, encoder, self.machine) for encoder in self.encoders]

    @cached_property
    def banks(self) -> list[Bank]:
        """Features of the videos, one bank per encoder; a frame encoder's segments are averaged."""
        if not self.encoders[0].per_frame:
            return self.segments
        return [bank.over_time(self.encoders[0].num_features) for bank in self.segments]


def video_bank(
    task: DownstreamTask, encoder: Encoder, machine: Machine, grid: Grid | None = None, layers: Sequence[int] = ()
) -> Bank:
    """Extract the features of a task's videos; a frame encoder's segments are concatenated, ``[V, M, S * D]``.

    See `avssl.evaluation.extraction.extract_features` for ``grid`` and ``layers``.
    """
    values = extract_features(encoder, task.videos, task.rows, task.protocol.views, machine, grid, layers)
    return task.bank(at_rows(values, task.rows, len(task.videos)))


def measure(
    task: DownstreamTask,
    read_outs: Sequence[ReadOut[Source]],
    banks: Sequence[Source],
    folds: Folds,
    title: str = "",
) -> Outcome:
    """Cross-validate a read-out like `DownstreamTask.measure`; with too few labels it is left out, with the reason."""
    try:
        return task.measure(read_outs, banks, folds, title)
    except TooFewLabels as error:
        return Skipped(str(error))
