"""Rotation of clips (3DRotNet).

L. Jing, X. Yang, J. Liu, Y. Tian: Self-Supervised Spatiotemporal Feature Learning via Video Rotation Prediction. 2018.
https://arxiv.org/abs/1811.11387
"""

from __future__ import annotations

import torch
from einops import repeat
from torch import Tensor, nn

from avssl.clips import Clips
from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.base import Method
from avssl.methods.losses import classification

TURNS = 4


class Rotation(Method):
    """Predict by which multiple of 90 degrees a clip is rotated.

    Every clip is rotated by 0, 90, 180 and 270 degrees, all frames alike, in the same batch, as in the authors' code; a
    linear layer over its vector predicts the angle. Rotation by right angles needs no interpolation that could give the
    answer away; it is done on the device. Timestamps play no part.

    Metric: ``accuracy``; chance is 1/4.

    The paper also rotates each clip by up to 10 degrees at random; here only the transform varies it.

    Args:
        encoder: clip encoder, applied to four clips per clip read.
    """

    caption = "0, 90, 180, 270 degrees"

    def __init__(self, encoder: Encoder, sampler: RandomClips | None = None) -> None:
        super().__init__(encoder, sampler or RandomClips(num_frames=16, step=0.08))
        self.classifier = nn.Linear(encoder.num_features, TURNS)

    def forward(self, clips: Clips) -> dict[str, Tensor]:
        """Return loss and accuracy over 4·B·N rotated clips."""
        return self.judged(self.encoder(turned(clips.video).flatten(0, 2)), clips)

    def judged(self, features: Tensor, clips: Clips) -> dict[str, Tensor]:
        """Classify the rotation from the rotated clips' vectors ``[B N 4, D]``: loss, accuracy and chance."""
        target = repeat(torch.arange(TURNS, device=features.device), "k -> (m k)", m=len(features) // TURNS)
        return classification(self.classifier(features).float(), target, clips)

    def pictures(self, clips: Clips) -> dict[str, Tensor]:
        """Return the first frame of each clip at all four angles."""
        return {"turned": turned(clips.rgb[:, :, :1])[:, :, :, 0]}


def turned(video: Tensor) -> Tensor:
    """Rotate by 0, 90, 180 and 270 degrees anticlockwise: ``[B, N, T, 3, S, S]`` to ``[B, N, 4, T, 3, S, S]``."""
    return torch.stack([video.rot90(turns, (-2, -1)) for turns in range(TURNS)], 2)
