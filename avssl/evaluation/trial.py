"""Encoders of one network on a task: what the read-outs of a protocol are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from avssl.encoders import Encoder, TokenEncoder
from avssl.evaluation.attentive import AttentiveProbe, Tokens
from avssl.evaluation.extraction import extract_features, extract_several
from avssl.evaluation.features import Views, parts, spread
from avssl.evaluation.layout import LayoutProbe, Layouts
from avssl.evaluation.protocol import DownstreamTask
from avssl.evaluation.reading import Grid, Reading
from avssl.evaluation.readout import Bank, ReadOut, Source, TooFewLabels, at_rows
from avssl.evaluation.results import Outcome, Skipped
from avssl.evaluation.splits import Folds
from avssl.runtime.device import Machine

AS_THEY_ARE = (1 << 20,) * 3  # a grid finer than any map


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
        task, protocol = self.task, self.task.protocol
        wanted = {protocol.views: [Reading(), *([Reading(layers=protocol.layers)] if protocol.layers else [])]}
        probes = [probe for probe in (protocol.layout, protocol.layout_mean) if probe is not None]
        shapes = [shape for probe in probes for shape in self.shapes(probe).values()]
        if protocol.attentive_probe is not None:
            shapes.append(self.token_shape(protocol.attentive_probe))
        for views, grid in dict.fromkeys(shapes):
            wanted.setdefault(views, []).append(Reading(grid))
        for encoder in self.encoders:
            for views, readings in wanted.items():
                extract_several(encoder, task.videos, task.rows, views, self.machine, readings)

    @cached_property
    def layers(self) -> list[list[Bank]]:
        """Features of each of the protocol's inner layers, one bank per encoder."""
        task, layers = self.task, self.task.protocol.layers
        every = parts(self.encoders[0], task.protocol.views, layers=layers)
        banks = [video_bank(task, encoder, self.machine, layers=layers) for encoder in self.encoders]
        return [[bank.columns(part.start, part.stop) for bank in banks] for part in every]

    def whole(self, frames: int) -> Views:
        """Return one clip of the whole video, of so many frames or, where the network takes no other, the protocol's.

        Raises:
            ValueError: if the encoder does not fit the protocol's views either.
        """
        views = self.task.protocol.views
        shown = spread(views, frames)
        try:
            parts(self.encoders[0], shown)
        except ValueError:
            shown = spread(views, views.num_frames)
            parts(self.encoders[0], shown)
        return shown

    def shapes(self, probe: LayoutProbe) -> dict[str, tuple[Views, Grid]]:
        """Return views and grid of each shape that a layout probe compares, by its name.

        Raises:
            ValueError: if the encoder does not fit the views, or every shape has too many numbers.
        """
        views = self.task.protocol.views
        found: dict[str, tuple[Views, Grid]] = {}
        every = {seen: views if seen == "clips" else self.whole(probe.frames) for seen in probe.seen}
        for (seen, shown), grid in product(every.items(), probe.grids):
            (part,) = parts(self.encoders[0], shown, grid)
            if shown.clips * (part.stop - part.start) <= probe.numbers:
                found.setdefault(f"{seen} {'x'.join(map(str, part.grid))}", (shown, grid))
        if not found:
            raise ValueError(
                f"{probe.key}.numbers is {probe.numbers}, and every shape has more: "
                f"raise it, or give smaller {probe.key}.grids"
            )
        return found

    def layouts(self, probe: LayoutProbe) -> list[Layouts]:
        """Return the features in each of the `shapes`, for each encoder."""
        shapes = self.shapes(probe)
        return [
            Layouts(
                {
                    name: video_bank(self.task, encoder, self.machine, grid, views=views).in_sequence(views.crops)
                    for name, (views, grid) in shapes.items()
                }
            )
            for encoder in self.encoders
        ]

    def token_shape(self, probe: AttentiveProbe) -> tuple[Views, Grid]:
        """Return views and grid of the tokens of an attentive probe."""
        views = self.task.protocol.views
        return views if probe.frames is None else spread(views, probe.frames), probe.grid or AS_THEY_ARE

    def tokens(self, probe: AttentiveProbe) -> list[Tokens]:
        """Return the maps of the videos for an attentive probe, for each encoder."""
        views, grid = self.token_shape(probe)
        (part,) = parts(self.encoders[0], views, grid)
        placed = isinstance(self.encoders[0], TokenEncoder) and not self.encoders[0].per_frame
        banks = [video_bank(self.task, encoder, self.machine, grid, views=views) for encoder in self.encoders]
        return [Tokens(bank, part.grid, placed) for bank in banks]

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
    task: DownstreamTask,
    encoder: Encoder,
    machine: Machine,
    grid: Grid | None = None,
    layers: Sequence[int] = (),
    views: Views | None = None,
) -> Bank:
    """Extract the features of a task's videos; a frame encoder's segments are concatenated, ``[V, M, S * D]``.

    See `avssl.evaluation.extraction.extract_features` for ``grid`` and ``layers``; ``views`` are by default the
    protocol's.
    """
    views = views or task.protocol.views
    values = extract_features(encoder, task.videos, task.rows, views, machine, grid, layers)
    return task.bank(at_rows(values, task.rows, len(task.videos)), str(machine.target))


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
