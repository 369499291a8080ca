"""Inter-intra contrast between a clip and its differences (IIC).

L. Tao, X. Wang, T. Yamasaki: Self-supervised Video Representation Learning Using Inter-intra Contrastive Framework. ACM
Multimedia 2020. https://arxiv.org/abs/2008.02531
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.encoders.vit import GAIN
from avssl.methods.base import Method, measured
from avssl.methods.distributed import drawn, gather
from avssl.methods.losses import inner_products, retrieval_accuracy

PIECES = 4  # of a clip, two of which are exchanged in a shuffled one

Broken = Literal["repeat", "shuffle"]


class IIC(Method):
    """Match frames with frame differences of the same video, not with clips whose motion is broken.

    One network encodes both views of a video: frames, and the differences between them. Each must find the other among
    those of all videos (inter-negatives) and among clips of frames whose temporal relations were broken, its own
    video's included (intra-negatives): one frame repeated, or pieces in the wrong order. There is no projection head.

    Metric: ``accuracy``, whether the nearest view of differences is of the same video; chance is one over the number of
    videos in the batch.

    Differences from the paper: candidates are the views of the batch, over all processes, and get gradients; the
    paper's come from a memory of one running mean per video and view. As there, the two views are of two clips of a
    video (the memory's were drawn in earlier epochs), and an intra-negative is of the clip whose frames are shown. All
    T - 1 differences are shown, `GAIN` times enlarged, not T mapped to [0, 1], the first of them from the last frame.

    Args:
        encoder: clip encoder that sees frames: its own option ``differences`` would take differences again.
        sampler: draws two clips.
        broken: how intra-negatives are made: ``"repeat"`` one frame of the clip, at random (the authors' default), or
            ``"shuffle"``: exchange two of `PIECES` equal pieces.
        temperature: softmax temperature (the paper: 0.07).

    Raises:
        ValueError: if there aren't two clips, or a clip to be shuffled can't be cut into equal pieces.
    """

    sampler: RandomClips

    def __init__(
        self,
        encoder: Encoder,
        sampler: RandomClips | None = None,
        broken: Broken = "repeat",
        temperature: float = 0.07,
    ) -> None:
        super().__init__(encoder, sampler or RandomClips(2, 16, 0.04))
        if self.sampler.clips != 2:
            raise ValueError(f"IIC: sampler.clips must be 2, one for each view; got {self.sampler.clips}")
        if broken == "shuffle" and self.sampler.num_frames % PIECES:
            raise ValueError(f"IIC: shuffled clips need a multiple of {PIECES} frames, got {self.sampler.num_frames}")
        self.temperature = temperature
        self.breaking = {"repeat": repeated, "shuffle": shuffled}[broken]

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over B videos."""
        first, second = clips.video.unbind(1)  # [B, T, 3, H, W] each
        views = first, GAIN * second.diff(dim=1), self.breaking(first)
        frames, differences, negatives = (F.normalize(self.encoder(view), dim=1) for view in views)  # [B, D] each
        every_negative, offset = gather(negatives)
        target = torch.arange(len(clips), device=frames.device) + offset
        losses = []
        for one, other in ((frames, differences), (differences, frames)):
            candidates = torch.cat([gather(other)[0], every_negative])  # [2 world B, D]
            losses.append(F.cross_entropy(inner_products(one, candidates) / self.temperature, target))
        return measured(clips, losses[0] + losses[1], accuracy=retrieval_accuracy(frames, differences))

    def describe(self, clips: Clips) -> list[list[str]]:
        """Name the view of each clip."""
        return [[f"frames of {video}", f"differences of {video}"] for video in range(len(clips))]

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the frames of the intra-negative that is made of the first clip."""
        rgb = clips.rgb[:, 0]
        return {"intra-negative": self.breaking(rgb)[:, None].expand(-1, clips.video.shape[1], -1, -1, -1, -1)}


def repeated(video: Tensor) -> Tensor:
    """Show one frame of each clip ``[B, T, 3, H, W]``, drawn at random, during the whole clip."""
    chosen = drawn(lambda count: torch.randint(video.shape[1], (count,), device=video.device), len(video))
    return video[torch.arange(len(video), device=video.device), chosen][:, None].expand_as(video)


def shuffled(video: Tensor) -> Tensor:
    """Exchange two of the `PIECES` pieces of each clip ``[B, T, 3, H, W]``, drawn at random."""
    count, device = len(video), video.device
    one = drawn(lambda videos: torch.randint(PIECES, (videos, 1), device=device), count)
    other = (one + drawn(lambda videos: torch.randint(1, PIECES, (videos, 1), device=device), count)) % PIECES
    order = torch.arange(PIECES, device=device).expand(count, -1)  # [B, PIECES]
    order = order.scatter(1, one, other).scatter(1, other, one)
    length = video.shape[1] // PIECES
    places = (order[:, :, None] * length + torch.arange(length, device=device)).flatten(1)  # [B, T]
    return video[torch.arange(count, device=device)[:, None], places]
