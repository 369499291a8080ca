"""Pace prediction, and SpeedNet.

J. Wang, J. Jiao, Y.-H. Liu: Self-supervised Video Representation Learning by Pace Prediction. ECCV 2020.
https://arxiv.org/abs/2008.05861
S. Benaim et al.: SpeedNet: Learning the Speediness in Videos. CVPR 2020. https://arxiv.org/abs/2004.06130
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, clip_times, random_start, uniform
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method, per_video_mean
from avssl.methods.disguise import flicker
from avssl.methods.heads import projection
from avssl.methods.losses import info_nce


@dataclass(frozen=True)
class PacedClips:
    """Two clips of one video, each at its own pace: frames are ``pace * step`` seconds apart.

    The paces of one video's clips differ and are drawn evenly, so that every batch holds the same scenes at several
    paces and a scene says nothing about its pace (SpeedNet trains on both speeds of a clip in one batch).

    Args:
        num_frames: frames a clip (T; Wang et al.: 16 or 64).
        step: seconds between two frames at pace 1; a frame of the video, or more: where frames repeat, pace shows.
        paces: rising, at least two (Wang et al.: 1, 2, 3, 4; SpeedNet: 1, 2).
        wobble: a clip is faster than its pace by up to this share (SpeedNet: 1 to 1.2 and 1.7 to 2.2 times), so that
            the beat between ``step`` and the video's frames can't tell the pace.
        motion_weighted: prefer windows in which much moves.

    Raises:
        ValueError: where a clip could belong to two paces.
    """

    num_frames: int = 16
    step: float = 0.04
    paces: tuple[float, ...] = (1, 2, 3, 4)
    wobble: float = 0.0
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        for slow, fast in pairwise(self.paces):
            if slow * (1 + self.wobble) >= fast:
                raise ValueError(f"PacedClips: with wobble={self.wobble}, pace {slow} reaches the next one, {fast}")
        if len(self.paces) < 2:
            raise ValueError(f"PacedClips.paces: expected at least two, got {list(self.paces)}")

    @property
    def seconds(self) -> float:
        """The fastest clip."""
        return self.num_frames * self.step * self.paces[-1] * (1 + self.wobble) + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Times ``[2, T]``."""
        shown = []
        for number in torch.randperm(len(self.paces), generator=rng)[:2].tolist():
            step = self.step * self.paces[number] * (1 + uniform(0.0, self.wobble, rng))
            start = random_start(info, self.num_frames * step + TINY, rng, self.motion_weighted)
            shown.append(clip_times(torch.tensor([start], dtype=torch.float64), self.num_frames, step))
        return ClipTimes(torch.cat(shown))

    def number(self, times: Tensor) -> Tensor:
        """``[..., T]`` seconds to ``[...]``: which of the paces a clip has, the fastest that it reaches."""
        pace = (times[..., -1] - times[..., 0]) / ((times.shape[-1] - 1) * self.step)
        return (pace[..., None] >= torch.tensor(self.paces, device=times.device) - TINY).sum(-1) - 1


class Pace(Method):
    """How fast is this clip played? And which other clip comes from the same video?

    A linear layer over the clip's vector predicts its pace, which is read off the timestamps. Besides, the two clips of
    a video, at different paces, must find each other among those of other videos (Wang et al.: same context); the two
    losses are added up, weighted. SpeedNet is ``paces: [1, 2]``, ``wobble: 0.2``, ``contrast: 0``; its pooling (maximum
    over space, mean over time) and its size of input, drawn anew for each clip, are not copied: a random resized crop
    draws the scale of a clip.

    Metrics: ``accuracy`` over the paces, chance being one over their number; ``same_video``, whether the other clip of
    the video is the nearest in the batch, chance being one over the number of others (with ``contrast`` only).

    Args:
        encoder: clip encoder.
        sampler: draws two clips a video.
        contrast: weight of the contrastive loss (Wang et al.: 0.1); 0 leaves it out.
        flicker: see `avssl.methods.disguise.flicker`; it stands in for the paper's colour jitter of each frame.
        hidden: width of the projection head's hidden layer.
        out: width of the space in which clips are compared.
        temperature: of the softmax.
    """

    sampler: PacedClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: PacedClips | None = None,
        contrast: float = 0.1,
        flicker: float = 0.4,
        hidden: int = 512,
        out: int = 128,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.contrast, self.flicker, self.temperature = encoder, contrast, flicker, temperature
        self.sampler = sampler or PacedClips()
        self.classifier = nn.Linear(encoder.num_features, len(self.sampler.paces))
        self.head = projection(encoder.num_features, hidden, out) if contrast else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and metrics over 2 B clips."""
        video = clips.video.flatten(0, 1)  # [2 B, T, 3, H, W], both clips of a video in a row
        vectors = self.encoder(flicker(video, self.flicker) if self.flicker else video)  # [2 B, D]
        scores = self.classifier(vectors).float()
        target = self.sampler.number(clips.times).flatten()
        out = {
            "loss": F.cross_entropy(scores, target),
            "accuracy": per_video_mean((scores.argmax(1) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / scores.shape[1], device=scores.device),
        }
        if self.head is not None:
            first, second = self.head(vectors).unflatten(0, (-1, 2)).unbind(1)  # [B, out] each
            loss, out["same_video"], out["chance/same_video"] = info_nce(first, second, self.temperature)
            out["loss"] = out["loss"] + self.contrast * loss
        return out

    def describe(self, clips: Clips) -> list[list[str]]:
        """The pace."""
        return [[f"pace {self.sampler.paces[n]:g}" for n in row] for row in self.sampler.number(clips.times).tolist()]
