"""Online linear probe: what is read from an encoder of labelled videos during pretraining."""

from __future__ import annotations

import torch

from avssl.encoders import Encoder
from avssl.evaluation.features import Normalise, ViewDataset, check_fits, encode
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.protocol import DownstreamTask, Protocol
from avssl.evaluation.readout import at_rows
from avssl.evaluation.results import Summary
from avssl.runtime.device import Machine
from avssl.training.module import statistics

PROBE = LinearProbe(strengths=(0.01,))  # C is fixed, so that a measurement takes seconds


class OnlineProbe:
    """Linear accuracy of an encoder in training, without effect on its weights or random numbers.

    ``metric`` is ``top1``, or ``mAP`` where videos show several classes or none.
    The views of all labelled videos are decoded once and kept in memory as uint8. ``encoder`` is the one before
    training, on the CPU; it is tried on one empty clip.

    Raises:
        MediaError: if a labelled video can't be read.
        ValueError: if the collection does not fit the split, or the encoder does not fit the views.
    """

    def __init__(self, protocol: Protocol, encoder: Encoder) -> None:
        self.task = DownstreamTask(protocol)
        self.metric = "mAP" if self.task.several else "top1"
        views = protocol.views
        check_fits(encoder.eval(), views)
        encoder.train()
        clips = ViewDataset(self.task.videos, self.task.rows, views)
        self.pixels = torch.stack([clips[place] for place in range(len(clips))])  # [V, M, T, 3, S, S] uint8

    def __call__(self, encoder: Encoder, device: torch.device) -> float:
        """Return the video accuracy, or mean average precision, over the protocol's folds, with C fixed."""
        task, views, training = self.task, self.task.protocol.views, encoder.training
        normalise, machine = Normalise(*statistics(encoder), device), Machine(device.type)
        encoder.eval()
        found = [encode(encoder, pixels, views, normalise, machine).flatten(1).cpu() for pixels in self.pixels]
        encoder.train(training)
        values = at_rows(torch.stack(found).numpy(), task.rows, len(task.videos))  # [V, M, S * D]
        measured = task.measure([PROBE], [task.bank(values)])
        return measured.top1.value if isinstance(measured, Summary) else measured.value
