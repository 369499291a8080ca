"""Rotation of images (RotNet).

S. Gidaris, P. Singh, N. Komodakis: Unsupervised Representation Learning by Predicting Image Rotations. ICLR 2018.
https://arxiv.org/abs/1803.07728
"""

from __future__ import annotations

from avssl.data.samplers import RandomClips
from avssl.encoders import Encoder
from avssl.methods.temporal.rotation import Rotation


class RotNet(Rotation):
    """By which multiple of 90 degrees was this frame turned?

    Every frame is seen turned by 0, 90, 180 and 270 degrees in the same batch, which the paper found better than one
    turn drawn at random (section 3.1); the loss is the mean over all four (equation 3). Turns by right angles move
    pixels and make none (section 2.2): no interpolation gives the answer away.

    Metric: ``accuracy``; chance is 1/4.

    `Rotation` is the same task on clips; here N frames of a video are N pictures, each cropped by itself. The paper's
    classifier sits on the convolutional maps of a NIN or an AlexNet; here it is linear over the encoder's vector.

    Args:
        encoder: frame encoder. A step costs four frames for each that is read.
        sampler: draws the frames.
    """

    def __init__(self, encoder: Encoder, sampler: RandomClips | None = None) -> None:
        super().__init__(encoder, sampler or RandomClips(clips=4, num_frames=1))
