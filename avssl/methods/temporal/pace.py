"""Pace prediction, and SpeedNet.

J. Wang, J. Jiao, Y.-H. Liu: Self-supervised Video Representation Learning by Pace Prediction. ECCV 2020.
https://arxiv.org/abs/2008.05861
S. Benaim et al.: SpeedNet: Learning the Speediness in Videos. CVPR 2020. https://arxiv.org/abs/2004.06130
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn

from avssl.clips import Clips, ClipTimes
from avssl.data.samplers import TINY, check_sampler, clip_times, random_start, uniform
from avssl.encoders import Encoder
from avssl.media import VideoInfo
from avssl.methods.base import Method
from avssl.methods.disguise import flicker
from avssl.methods.heads import projection
from avssl.methods.losses import classification, info_nce


@dataclass(frozen=True)
class PacedClips:
    """Two clips of one video at different paces: frames are ``pace * step`` seconds apart.

    The paces of one video's clips differ and are drawn uniformly, so every batch holds the same scenes at several paces
    and a scene does not reveal its pace (SpeedNet trains on both speeds of a clip in one batch).

    Args:
        num_frames: frames per clip (T; Wang et al.: 16 or 64).
        step: seconds between frames at pace 1; at least one frame of the video, since repeated frames reveal the pace.
        paces: rising, at least two (Wang et al.: 1, 2, 3, 4; SpeedNet: 1, 2).
        wobble: largest relative speed-up, short of the next pace, which hides the beat with the frame rate (SpeedNet: 1
            to 1.2 and 1.7 to 2.2 times).
        motion_weighted: prefer windows with much motion.
    """

    num_frames: int = 16
    step: float = 0.04
    paces: tuple[float, ...] = (1, 2, 3, 4)
    wobble: float = 0.0
    motion_weighted: bool = False

    def __post_init__(self) -> None:
        check_sampler(self)
        for slow, fast in pairwise(self.paces):
            if slow * (1 + self.wobble) >= fast:
                raise ValueError(f"PacedClips: with wobble={self.wobble}, pace {slow} reaches the next one, {fast}")
        if len(self.paces) < 2:
            raise ValueError(f"PacedClips.paces: expected at least two, got {list(self.paces)}")

    @property
    def seconds(self) -> float:
        """Length of the fastest clip."""
        return self.num_frames * self.step * self.paces[-1] * (1 + self.wobble) + TINY

    def __call__(self, info: VideoInfo, rng: torch.Generator) -> ClipTimes:
        """Draw times ``[2, T]``."""
        shown = []
        for number in torch.randperm(len(self.paces), generator=rng)[:2].tolist():
            step = self.step * self.paces[number] * (1 + uniform(0.0, self.wobble, rng))
            start = random_start(info, self.num_frames * step + TINY, rng, self.motion_weighted)
            shown.append(clip_times(torch.tensor([start], dtype=torch.float64), self.num_frames, step))
        return ClipTimes(torch.cat(shown))

    def number(self, times: Tensor) -> Tensor:
        """Return the index of the fastest pace that a clip reaches: ``[..., T]`` seconds to ``[...]``."""
        pace = (times[..., -1] - times[..., 0]) / ((times.shape[-1] - 1) * self.step)
        return (pace[..., None] >= torch.tensor(self.paces, device=times.device) - TINY).sum(-1) - 1


class Pace(Method):
    """Predict the pace of a clip, and match it with another clip of the same video.

    A linear layer over the clip's vector predicts its pace, which is read off the timestamps. A weighted contrastive
    loss makes the two clips of a video, at different paces, find each other among all clips (Wang et al.: same
    context). SpeedNet is ``paces: [1, 2]``, ``wobble: 0.2``, ``contrast: 0``; its pooling (maximum over space, mean
    over time) and random input size (here: random resized crops) are not reproduced.

    Metrics: ``accuracy`` over the paces, chance one over their number; with ``contrast`` also ``same_video``, whether
    the other clip of the video is the nearest in the batch, chance one over the number of other clips.

    Args:
        sampler: draws two clips per video.
        contrast: weight of the contrastive loss (Wang et al.: 0.1); 0 disables it.
        flicker: see `avssl.methods.disguise.flicker`; replaces the paper's colour jitter of each frame.
        hidden: width of the projection head's hidden layer.
        out: width of the projection.
        temperature: softmax temperature.
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
        super().__init__(encoder, sampler or PacedClips())
        self.contrast, self.flicker, self.temperature = contrast, flicker, temperature
        self.classifier = nn.Linear(encoder.num_features, len(self.sampler.paces))
        self.head = projection(encoder.num_features, hidden, out) if contrast else None

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and metrics over 2 B clips."""
        video = clips.video.flatten(0, 1)  # [2 B, T, 3, H, W], the two clips of a video adjacent
        vectors = self.encoder(flicker(video, self.flicker) if self.flicker else video)  # [2 B, D]
        target = self.sampler.number(clips.times).flatten()
        out = classification(self.classifier(vectors).float(), target, clips)
        if self.head is not None:
            first, second = rearrange(self.head(vectors), "(b two) d -> two b d", two=2)
            loss, out["same_video"], out["chance/same_video"] = info_nce(first, second, self.temperature)
            out["loss"] = out["loss"] + self.contrast * loss
        return out

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the pace of each clip."""
        return [[f"pace {self.sampler.paces[n]:g}" for n in row] for row in self.sampler.number(clips.times).tolist()]
