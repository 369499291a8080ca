"""Base class of pretext tasks."""

from __future__ import annotations

from collections.abc import Sized

import torch
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.dataset import ClipDataset, Labeller
from avssl.data.samplers import ClipSampler
from avssl.encoders import Encoder
from avssl.encoders.base import Exportable


class Method(nn.Module):
    """A pretext task: the seconds it needs, the target it predicts, and the encoder that is kept.

    Every method takes these two arguments; its own docstring repeats them only if there is more to say.

    Args:
        encoder: the network that is exported and evaluated by transfer.
        sampler: chooses the seconds of a video that a batch item shows; each method has its own default.

    Attributes:
        labeller: computes ``Clips.target`` from pixels, or None.
        frames_only: True for methods whose encoder must encode frames independently.
        uses_labels: True for semi-supervised methods; all others get -1 for every ``Clips.label``.
        caption: the target in words, if it is the same for every clip (see `describe`).
    """

    sampler: ClipSampler
    labeller: Labeller | None = None
    encoder: Encoder
    frames_only: bool = False
    uses_labels: bool = False
    caption: str = ""

    def __init__(self, encoder: Encoder, sampler: ClipSampler) -> None:
        super().__init__()
        if self.frames_only and not encoder.per_frame:
            name = type(self).__name__
            raise ValueError(f"{name} needs a frame encoder; {type(encoder).__name__} mixes frames in time")
        self.encoder, self.sampler = encoder, sampler

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Compute the loss, the metrics, and the chance level of each metric, without waiting for the device.

        Args:
            clips: normalised, on the method's device; ``clips.label`` may be read only by methods that set
                ``uses_labels``.

        Returns:
            Scalar ``"loss"``; metrics ``[B]``, one value per video; for each of them ``"chance/<metric>"`` ``[B]``.
        """
        raise NotImplementedError

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return the target in words, for people to read: for each of B videos, one line for each of N clips."""
        return [[self.caption] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return inputs, targets and predictions as images, for ``tools/show.py`` to draw; clips are as in `forward`.

        There are K images of any size for each of N clips, by name (``"target"``, ``"prediction"``, ...):
        ``[B, N, K, 3, H, W]`` RGB in [0, 1]. Empty if `describe` says it all.
        """
        return {}

    def exports(self) -> dict[str, Exportable]:
        """Return the networks that a run keeps, by the name of their folder."""
        return {"encoder": self.encoder}

    def check(self, training: ClipDataset, held_out: ClipDataset) -> None:
        """Raise a ValueError if the method can't be used on a run's items; it is asked once, before the run."""

    def after_step(self, progress: float) -> None:
        """Update momentum encoders and schedules after an optimiser step; ``progress`` of the run is in (0, 1]."""


def per_video_mean(values: Tensor, clips: Sized) -> Tensor:
    """Average ``[B ...]`` values over everything that belongs to the same video, ``[B]`` float32."""
    return values.float().reshape(len(clips), -1).mean(1)


def measured(clips: Sized, loss: Tensor, **metrics: tuple[Tensor, Tensor | float]) -> dict[str, Tensor]:
    """Return what `Method.forward` returns, given by metric the values and their chance level.

    Values are numbers or bool ``[B ...]``, averaged per video; a chance level is one number, or ``[B ...]`` too.
    """
    out = {"loss": loss}
    for name, (values, chance) in metrics.items():
        out[name] = per_video_mean(values, clips)
        level = chance if isinstance(chance, Tensor) else torch.full_like(out[name], chance)
        out[f"chance/{name}"] = per_video_mean(level, clips)
    return out
