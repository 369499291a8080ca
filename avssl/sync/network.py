"""Networks that measure how far a video clip and a sound are out of sync."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.encoders import AudioEncoder, Encoder, SoundWindows
from avssl.encoders.base import Exportable
from avssl.encoders.export import build, plan


class Synchroniser(Exportable):
    """A network that measures the distance between a short clip and a sound.

    Args:
        num_features: see `Exportable`.
        config: see `Exportable`.
        num_frames: T, frames per clip.
        step: seconds between frames.
        rate: sampling rate of the sound, in Hz.

    Attributes:
        samples: samples of sound per clip.
    """

    def __init__(self, num_features: int, config: Mapping[str, Any], num_frames: int, step: float, rate: int) -> None:
        super().__init__(num_features, config)
        self.num_frames, self.step, self.rate = num_frames, step, rate
        self.samples = round(num_frames * step * rate)

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:
        """Return the distances ``[P, O]`` float32 of clips to sounds; smaller is more in sync.

        Args:
            clips: ``[P, T, 3, H, W]`` float, normalised.
            sounds: ``[Q, S]`` float mono in [-1, 1].
            which: ``[P, O]`` indices of the sounds that each clip is compared with.
        """
        raise NotImplementedError


class TwoStream(Synchroniser):
    """A video stream and an audio stream that embed into one space, where unit vectors are compared.

    Each stream averages its encoder's maps over space (bands), pools them to a few points in time, concatenates these
    and applies two linear layers with batch norm and ReLU in between. The points in time keep *when* things happen,
    which a mean over the clip would lose.

    Args:
        encoder: video encoder, or its `plan`.
        audio_encoder: audio encoder, or its `plan`.
        hidden: width of the hidden layer.
        out: width of the embedding.
        moments: points in time that the heads see of the video and of the sound.
        num_frames: frames per clip.
        step: seconds between frames.
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

    def embed_video(self, clips: Tensor) -> Tensor:
        """Embed ``[P, T, 3, H, W]`` as unit vectors ``[P, out]`` float32."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [P, D, T']
        return F.normalize(self.video_head(F.adaptive_avg_pool1d(maps, self.moments[0]).flatten(1)).float(), dim=1)

    def embed_windows(self, clips: Tensor) -> Tensor:
        """Embed ``[B, T, 3, H, W]`` as unit vectors ``[B, T', out]``, one per map of an `EarlyFusion` encoder."""
        maps = self.encoder.maps(clips).mean((3, 4), dtype=torch.float32)  # [B, D, T']
        vectors = F.normalize(self.video_head(rearrange(maps, "b d t -> (b t) d")).float(), dim=1)
        return rearrange(vectors, "(b t) d -> b t d", b=len(clips))

    def embed_audio(self, sounds: Tensor) -> Tensor:
        """Embed ``[Q, S]`` as unit vectors ``[Q, out]`` float32."""
        maps = self.audio_encoder.maps(sounds).float()  # [Q, D, T']
        return F.normalize(self.audio_head(F.adaptive_avg_pool1d(maps, self.moments[1]).flatten(1)).float(), dim=1)

    def embed_along(self, samples: Tensor, starts: Tensor) -> Tensor:
        """Embed the sounds that begin at ``[W]`` seconds of ``[B, S]`` samples as unit vectors ``[B, W, out]``.

        They are the vectors of `embed_audio`. Networks without padding in time see the samples once.
        """
        if not isinstance(self.audio_encoder, SoundWindows):
            pieces = cut_audio(samples, starts, self.samples, self.rate)  # [B, W, samples]
            return self.embed_audio(pieces.flatten(0, 1)).unflatten(0, (len(samples), len(starts)))
        maps = self.audio_encoder.maps(samples).float()  # [B, D, T']
        first = (starts / self.audio_encoder.hop).round().long()
        places = first[:, None] + torch.arange(self.audio_encoder.steps(self.samples), device=starts.device)
        windows = rearrange(maps[:, :, places], "b d w t -> (b w) d t")
        vectors = self.audio_head(F.adaptive_avg_pool1d(windows, self.moments[1]).flatten(1)).float()
        return F.normalize(vectors, dim=1).unflatten(0, (len(samples), len(starts)))

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:  # noqa: D102
        video, audio = self.embed_video(clips), self.embed_audio(sounds)
        return 1 - (video[:, None] * audio[which]).sum(2)  # [P, O], half the squared distance


def cut_audio(samples: Tensor, starts: Tensor, length: int, rate: int) -> Tensor:
    """Cut pieces ``[B, W, length]`` of ``[B, S]`` samples, ``rate`` per second, at ``[W]`` starts in seconds."""
    place = (starts * rate).round().long()[:, None] + torch.arange(length, device=samples.device)  # [W, length]
    return samples[:, place]
