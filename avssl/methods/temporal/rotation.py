"""Rotation of clips (3DRotNet).

L. Jing, X. Yang, J. Liu, Y. Tian: Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction. 2018.
https://arxiv.org/abs/1811.11387
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method, a_video
from avssl.pixels import denormalise

TURNS = 4


class Rotation(Method):
    """By which multiple of 90 degrees was this clip turned?

    Every clip is seen turned by 0, 90, 180 and 270 degrees, all frames alike, in the same batch, as in the
    authors' code; a linear layer over its vector says by how much. Turning by right angles moves pixels and
    makes none, so that no interpolation gives the answer away; it is done on the device. The target is how the pixels
    were turned, not a matter of time: no timestamps.

    Metric: ``accuracy``; chance is 1/4.

    The paper also turns each clip by up to 10 degrees at random; here only the transform varies it.

    Args:
        encoder: clip encoder. A step costs four clips for each that is read.
        sampler: draws the clips.
    """

    def __init__(self, encoder: Encoder, sampler: RandomClips | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.sampler = sampler or RandomClips(num_frames=16, step=0.08)
        self.classifier = nn.Linear(encoder.num_features, TURNS)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Loss and accuracy over 4·B·N turned clips."""
        return self.judged(self.encoder(turned(clips.video).flatten(0, 2)), clips)

    def judged(self, features: Tensor, clips: Clips) -> dict[str, Tensor]:
        """What the vectors ``[B N 4, D]`` of the turned clips say of the turns: loss, accuracy and chance."""
        scores = self.classifier(features).float()  # [B N 4, 4]
        target = torch.arange(TURNS, device=scores.device).repeat(len(scores) // TURNS)
        return {
            "loss": F.cross_entropy(scores, target),
            "accuracy": a_video((scores.argmax(1) == target).float(), clips),
            "chance/accuracy": torch.full((len(clips),), 1 / TURNS, device=scores.device),
        }

    def describe(self, clips: Clips) -> list[list[str]]:
        """All four."""
        return [["0, 90, 180, 270 degrees"] * clips.video.shape[1]] * len(clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """The first frame of each clip, turned."""
        return {"turned": denormalise(turned(clips.video[:, :, :1])[:, :, :, 0])}


def turned(video: Tensor) -> Tensor:
    """``[B, N, T, 3, S, S]`` to ``[B, N, 4, T, 3, S, S]``: by 0, 90, 180 and 270 degrees anticlockwise."""
    return torch.stack([video.rot90(turns, (-2, -1)) for turns in range(TURNS)], 2)
