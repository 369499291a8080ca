"""What every pretext task is to the rest of the library."""

from __future__ import annotations

from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.dataset import Labeller
from avssl.data.samplers import ClipSampler
from avssl.encoders import Encoder
from avssl.encoders.base import Exportable


class Method(nn.Module):
    """A pretext task: which seconds it needs, what it predicts, and the encoder that is kept.

    Attributes:
        sampler: which seconds of a video a batch item shows.
        labeller: makes ``Clips.target`` from pixels, or None.
        encoder: what is exported and judged by transfer.
        uses_labels: whether it is semi-supervised; all other methods are given -1 for every ``Clips.label``.
    """

    sampler: ClipSampler
    labeller: Labeller | None = None
    encoder: Encoder
    uses_labels: bool = False

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """The loss, metrics, and for each metric what guessing would reach.

        Returns:
            Scalar ``"loss"``; metrics ``[B]``, one value a video; for each of them ``"chance/<metric>"``, ``[B]`` too.

        Args:
            clips: normalised, on the method's device. ``clips.label`` is for those that say ``uses_labels``.
        """
        raise NotImplementedError

    def describe(self, clips: Clips) -> list[list[str]]:
        """The target in words, for people to look at: for each of B videos, one line for each of N clips."""
        raise NotImplementedError

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """What the method was shown, should say and says, where that is a picture; ``tools/show.py`` draws it.

        Args:
            clips: normalised, on the method's device.

        Returns:
            For each name (``"target"``, ``"prediction"``, ...) ``[B, N, K, 3, H, W]`` RGB in [0, 1]: K pictures for
            each of N clips, of any size. Nothing where all is said in words.
        """
        return {}

    def exports(self) -> dict[str, Exportable]:
        """The networks that a run keeps, by the name of their folder in it."""
        return {"encoder": self.encoder}

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, for momentum encoders and schedules; ``progress`` runs over (0, 1]."""


def require_frame_encoder(method: Method, encoder: Encoder) -> None:
    """Refuse an encoder that mixes frames.

    Raises:
        ValueError: where frames are not encoded independently.
    """
    if not encoder.per_frame:
        raise ValueError(
            f"{type(method).__name__} needs a frame encoder; {type(encoder).__name__} mixes frames in time"
        )


def per_video_mean(values: Tensor, clips: Clips) -> Tensor:
    """``[B N]`` values, one a clip, to their means ``[B]``."""
    return values.view(len(clips), -1).mean(1)
