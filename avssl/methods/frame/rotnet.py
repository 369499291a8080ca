"""Rotation of images (RotNet).

S. Gidaris, P. Singh, N. Komodakis: Unsupervised Representation Learning by Predicting Image Rotations. ICLR 2018.
https://arxiv.org/abs/1803.07728
"""

from __future__ import annotations

from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.temporal.rotation import Rotation


class RotNet(Rotation):
    """Predict by which multiple of 90 degrees a frame is rotated.

    Every frame is rotated by 0, 90, 180 and 270 degrees in the same batch, which the paper found better than one random
    rotation (section 3.1); the loss is the mean over all four (equation 3). Rotation by right angles needs no
    interpolation that could give the answer away (section 2.2). `Rotation` is the same task on clips; here N frames of
    a video are N pictures, each with its own crop.

    Metric: ``accuracy``; chance is 1/4.

    Args:
        encoder: frame encoder, applied to four frames per frame read.
    """

    def __init__(self, encoder: Encoder, sampler: RandomClips | None = None) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
