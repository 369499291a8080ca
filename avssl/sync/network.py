"""Networks that say how far a picture and a sound are from belonging together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders import AudioEncoder, Encoder
from avssl.encoders.base import Exportable
from avssl.encoders.export import build, plan


class Synchroniser(Exportable):
    """A network that says how far a short picture and a sound are from belonging together.

    Args:
        num_features: see `Exportable`.
        config: see `Exportable`.
        num_frames: T, frames of the picture.
        step: seconds between two of them.
        rate: samples of sound a second.

    Attributes:
        num_frames: T.
        step: as given.
        rate: as given.
        samples: of the sound that goes with a picture.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any], num_frames: int, step: float, rate: int) -> None:
        super().__init__(num_features, config)
        self.num_frames, self.step, self.rate = num_frames, step, rate
        self.samples = round(num_frames * step * rate)

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:
        """How far pictures are from sounds; smaller is more in sync.

        Args:
            clips: ``[P, T, 3, H, W]`` float, normalised.
            sounds: ``[Q, S]`` float mono in [-1, 1].
            which: ``[P, O]`` the sounds that each picture is compared with.

        Returns:
            ``[P, O]`` float32.
        """
        raise NotImplementedError


class TwoStream(Synchroniser):
    """A picture stream and a sound stream into one space, on whose unit sphere they are compared.

    Each stream is its encoder's maps, averaged over space (bands), brought to a few moments, laid end to end, and two
    linear layers with batch norm and ReLU in between. The moments keep *when* things happen, which a mean over the clip
    would lose.

    Args:
        encoder: of pictures, or the `plan` of one.
        audio_encoder: of sound, or the `plan` of one.
        hidden: width of the layer in between.
        out: width of the space.
        moments: points in time that the head sees of the picture, and of the sound.
        num_frames: frames of a clip.
        step: seconds between two of them.
    """

    def __init__(
        self,
        encoder: Encoder | Mapping[str, Any],
        audio_encoder: AudioEncoder | Mapping[str, Any],
        hidden: int,
        out: int,
        moments: tuple[int, int],
        num_frames: int,
        step: float,
    ) -> None:
        encoder = encoder if isinstance(encoder, Encoder) else build(encoder, Encoder)
        audio_encoder = audio_encoder if isinstance(audio_encoder, AudioEncoder) else build(audio_encoder, AudioEncoder)
        sizes = {"hidden": hidden, "out": out, "moments": list(moments), "num_frames": num_frames, "step": step}
        plans = {"encoder": plan(encoder), "audio_encoder": plan(audio_encoder)}
        super().__init__(out, {**plans, **sizes}, num_frames, step, audio_encoder.rate)
        self.encoder, self.audio_encoder, self.moments = encoder, audio_encoder, tuple(moments)
        self.video_head, self.audio_head = (
            nn.Sequential(
                nn.Linear(part.num_features * points, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, out),
            )
            for part, points in zip((encoder, audio_encoder), moments, strict=True)
        )

    def see(self, clips: Tensor) -> Tensor:
        """``[P, T, 3, H, W]`` to unit vectors ``[P, out]`` float32."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [P, D, T']
        return F.normalize(self.video_head(F.adaptive_avg_pool1d(maps, self.moments[0]).flatten(1)).float(), dim=1)

    def slide(self, clips: Tensor) -> Tensor:
        """``[B, T, 3, H, W]`` to unit vectors ``[B, T', out]``, one for each map of the encoder (of `EarlyFusion`)."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [B, D, T']
        return F.normalize(self.video_head(maps.mT.flatten(0, 1)).float(), dim=1).unflatten(0, (len(clips), -1))

    def hear(self, sounds: Tensor) -> Tensor:
        """``[Q, S]`` to unit vectors ``[Q, out]`` float32."""
        maps = self.audio_encoder.maps(sounds).float()  # [Q, D, T']
        return F.normalize(self.audio_head(F.adaptive_avg_pool1d(maps, self.moments[1]).flatten(1)).float(), dim=1)

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:  # noqa: D102
        seen, heard = self.see(clips), self.hear(sounds)
        return 1 - (seen[:, None] * heard[which]).sum(2)  # [P, O], half the squared distance
