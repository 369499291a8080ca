"""Audio-visual scene analysis by detecting shifted sound.

A. Owens, A. A. Efros: Audio-Visual Scene Analysis with Self-Supervised Multisensory Features. ECCV 2018.
https://arxiv.org/abs/1804.03641
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import check_sampler, clip_times, on_frames, uniform
from avssl.encoders import Fused
from avssl.encoders.base import Exportable
from avssl.encoders.export import build, plan
from avssl.media import VideoInfo
from avssl.methods.audiovisual.streams import IN_SYNC, audio_delay, common_span, draw_two_moments, valid_audio
from avssl.methods.base import Method, measured
from avssl.methods.losses import nearer
from avssl.sync.network import Synchroniser
from avssl.sync.offset import describe_offset


@dataclass(frozen=True)
class ShiftedSound:
    """Sampler of one clip shown twice, with its own sound and with that of another moment of the same video.

    Both moments have the same distribution, and which of them the picture shows is random: aligned and shifted sounds
    come from the same parts of a recording, so that neither stream alone gives the answer away.

    Args:
        num_frames: frames per clip (T); paper: 4.2 s.
        step: seconds between two frames of a clip.
        shift_min: least shift in seconds (paper: 2.0).
        shift_max: largest shift in seconds (paper: 5.8).
    """

    num_frames: int = 126
    step: float = 1 / 30
    shift_min: float = 2.0
    shift_max: float = 5.8

    def __post_init__(self) -> None:
        check_sampler(self)

    @property
    def seconds(self) -> float:
        """Duration of a clip and the least shift."""
        return self.num_frames * self.step + self.shift_min

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[2, T]``, both rows equal, and the two sounds in random order."""
        span = self.num_frames * self.step
        begin, end = common_span(info, self.seconds)
        pair = draw_two_moments(begin, end - span, self.shift_min, self.shift_max, rng)
        moments = on_frames(torch.tensor(pair, dtype=torch.float64), info)
        sounds = moments if uniform(0, 1, rng) < 0.5 else moments.flip(0)
        times = clip_times(moments[:1], self.num_frames, self.step)
        return ClipTimes(times.repeat(2, 1), torch.stack([sounds, sounds + span], 1))


class Alignment(Synchroniser):
    """A fused network (or the `plan` of one) and a classifier of aligned against shifted sound."""

    def __init__(self, encoder: Fused | Mapping[str, Any], num_frames: int, step: float) -> None:
        encoder = encoder if isinstance(encoder, Fused) else build(encoder, Fused)
        config = {"encoder": plan(encoder), "num_frames": num_frames, "step": step}
        super().__init__(1, config, num_frames, step, encoder.audio.rate)
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.num_features, 1)

    def forward(self, clips: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[B K]`` and maps ``[B K, D, T', H', W']`` of ``[B, T, 3, H, W]`` clips with K sounds each."""
        maps = self.encoder.fused(clips, sounds)
        return self.classifier(maps.mean((2, 3, 4), dtype=torch.float32)).squeeze(1).float(), maps

    def distances(self, clips: Tensor, sounds: Tensor, which: Tensor) -> Tensor:  # noqa: D102
        return torch.stack([-self(clip[None], sounds[row])[0] for clip, row in zip(clips, which, strict=True)])


class OwensEfros(Method):
    """Classify a clip's sound as aligned, or shifted by some seconds.

    A network that fuses both streams early classifies clips as aligned or shifted (section 3). The target follows from
    the times: aligned where ``audio_times - times`` is 0. The class-activation map, the classifier's weights applied to
    the last maps before pooling (section 4), shows where the sound comes from: `pictures`.

    Metrics, chance 0.5 each: ``accuracy`` over clips, half of them aligned; and ``paired``, the aligned one of the two
    sounds for a picture scores higher.
    """

    encoder: Fused
    sampler: ShiftedSound

    def __init__(self, encoder: Fused, sampler: ShiftedSound | None = None) -> None:
        super().__init__(encoder, sampler or ShiftedSound())
        self.alignment = Alignment(encoder, self.sampler.num_frames, self.sampler.step)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over 2 B clips."""
        score, _ = self._score(clips)
        target = aligned(clips).flatten()  # [2 B]
        loss = F.binary_cross_entropy_with_logits(score, target.float())
        pair = torch.where(target, score, -score).view(-1, 2).sum(1)  # [B] aligned minus shifted
        paired = nearer(torch.zeros_like(pair), pair)
        return measured(clips, loss, accuracy=((score > 0) == target, 0.5), paired=(paired, 0.5))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Return by how much the sound is early or late."""
        return [[describe_offset(seconds) for seconds in row] for row in audio_delay(clips).tolist()]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the class-activation map over one frame for each of its T' steps."""
        _, maps = self._score(clips)
        weights = self.alignment.classifier.weight[0]  # [D]
        heat = torch.einsum("bdthw,d->bthw", maps.float(), weights)  # [B N, T', H', W']
        rgb = clips.rgb[:, :1].expand_as(clips.video).flatten(0, 1)  # [B N, T, 3, H, W], the first as in `_score`
        heat = F.interpolate(heat, size=rgb.shape[3:], mode="bilinear")
        low, high = heat.amin((1, 2, 3), keepdim=True), heat.amax((1, 2, 3), keepdim=True)
        heat = ((heat - low) / (high - low + 1e-6))[:, :, None]  # [B N, T', 1, H, W]
        steps = heat.shape[1]
        frames = (torch.arange(steps, device=rgb.device) + 0.5) * rgb.shape[1] / steps
        red = torch.tensor([1.0, 0.0, 0.0], device=rgb.device).view(3, 1, 1)
        grey = rgb[:, frames.long()].mean(2, keepdim=True)  # [B N, T', 1, H, W]
        return {"where it hears": (grey + heat * (red - grey)).unflatten(0, (len(clips), -1))}

    def exports(self) -> dict[str, Exportable]:
        """Return the encoder, its sound network, and the network with its classifier as ``sync``."""
        return {"encoder": self.encoder, "audio_encoder": self.encoder.audio, "sync": self.alignment}

    def _score(self, clips: Clips) -> tuple[Tensor, Tensor]:
        samples = valid_audio(clips, self.encoder.audio).flatten(0, 1)
        return self.alignment(clips.video[:, 0], samples)  # both clips of a video have the same pictures


def aligned(clips: Clips) -> Tensor:
    """Return whether sound and picture start together, ``[B, N]`` bool."""
    return audio_delay(clips).abs() < IN_SYNC
